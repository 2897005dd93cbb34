package mlci

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonSlurper

/**
 * JSON text as plain maps and lists. The slurper's own maps cannot be serialized, so none may outlive a step.
 *
 * Here and in the other classes: a closure names the class of a static method that it calls, and that method is not
 * private. Jenkins' sandbox refuses the call otherwise.
 */
class Json implements Serializable {

    private static final long serialVersionUID = 1L

    /** The object that the text holds; an empty map where there is no text. */
    @NonCPS
    static Map read(String text) {
        return text?.trim() ? (Map) plain(new JsonSlurper().parseText(text)) : [:]
    }

    @NonCPS
    static Object plain(Object value) {
        if (value instanceof Map) {
            Map copy = [:]
            value.each { key, item -> copy[key as String] = Json.plain(item) }
            return copy
        }
        if (value instanceof List) {
            return value.collect { item -> Json.plain(item) }
        }
        return value
    }

}
