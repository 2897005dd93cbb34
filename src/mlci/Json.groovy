package mlci

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonSlurper

/** JSON text as plain maps and lists. The slurper's own maps cannot be serialized, so none may outlive a step. */
class Json implements Serializable {

    private static final long serialVersionUID = 1L

    /** The object that the text holds; an empty map where there is no text. */
    @NonCPS
    static Map read(String text) {
        return text?.trim() ? (Map) plain(new JsonSlurper().parseText(text)) : [:]
    }

    @NonCPS
    private static Object plain(Object value) {
        if (value instanceof Map) {
            Map copy = [:]
            value.each { key, item -> copy[key as String] = plain(item) }
            return copy
        }
        if (value instanceof List) {
            return value.collect { item -> plain(item) }
        }
        return value
    }

}
