package mlci

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput

/** A value of `set:` as the text of `mlci --set`: a map or list as JSON, anything else as it is written. Pure functions. */
class Setting implements Serializable {

    private static final long serialVersionUID = 1L

    /** What is wrong with the values, in one line; an empty text when nothing is. */
    @NonCPS
    static String wrong(String step, Map settings) {
        return settings.collect { key, value ->
            String problem = Setting.problem(value)
            return problem ? "${step}: set: ${Options.oneLine(key)} ${problem}".toString() : ''
        }.find { text -> text } ?: ''
    }

    @NonCPS
    static String problem(Object value) {
        if (value instanceof Map) {
            return value.collect { key, item -> Setting.problem(item) }.find { text -> text } ?: ''
        }
        if (value instanceof List) {
            return value.collect { item -> Setting.problem(item) }.find { text -> text } ?: ''
        }
        boolean plain = value == null || value instanceof CharSequence || value instanceof Boolean || value instanceof Number
        return plain ? '' : "holds '${Options.oneLine(value, 80)}', which is no text, number, boolean, list or map"
    }

    @NonCPS
    static String text(Object value) {
        return value instanceof Map || value instanceof List ? Setting.json(value) : value as String
    }

    /** JSON whose characters beyond ASCII are not escaped: YAML would read an escaped pair of surrogates as two characters. */
    @NonCPS
    static String json(Object value) {
        if (value instanceof Map) {
            return '{' + value.collect { key, item -> Setting.quoted(key as String) + ': ' + Setting.json(item) }.join(', ') + '}'
        }
        if (value instanceof List) {
            return '[' + value.collect { item -> Setting.json(item) }.join(', ') + ']'
        }
        return value instanceof CharSequence ? Setting.quoted(value as String) : value as String
    }

    @NonCPS
    static String quoted(String text) {
        if (text.matches('[\\x00-\\x7f]*')) {
            return JsonOutput.toJson(text)
        }
        String escaped = text.replaceAll('(["\\\\])', '\\\\$1').replaceAll('\n', '\\\\n').replaceAll('\r', '\\\\r')
        return '"' + escaped.replaceAll('\t', '\\\\t') + '"'
    }

}
