package mlci

import com.cloudbees.groovy.cps.NonCPS

/**
 * The arguments of a step: known keys with their defaults. Pure functions, so that they are quick under CPS.
 *
 * Here and in the other classes, constants are literals: a controller that restarts loads the classes before the sandbox
 * knows them, and refuses a constant that is computed from another.
 */
class Options implements Serializable {

    private static final long serialVersionUID = 1L

    /** Where and with what a command runs: what withMlci takes, and every other step as well. */
    static final Map PLACE = [python: '', cache: '', store: '', credentials: []]

    /** What every step that runs one command takes beside that. */
    static final Map COMMON = [config: 'ml.yaml', dir: '', set: [:], timeout: 0, retries: 0, verbose: false]

    /** Kind of a credential, as in jenkins.yaml → the keys that name its variables. */
    static final Map KINDS = [
        secret_text: ['variable'], username_password: ['user', 'password'], secret_file: ['variable'],
        ssh_key: ['variable', 'user'],
    ]

    /**
     * The defaults with what was given on top; a key given as null keeps its default. A text that says what a boolean or a
     * number is to be is taken for it: parameters and variables of a job are texts, and any text is true to Groovy.
     */
    @NonCPS
    static Map merged(Map known, Map given) {
        Map all = [:] + known + given.findAll { key, value -> value != null }
        return all.collectEntries { key, value ->
            return [(key): Options.typed(known[key], value)]
        }
    }

    @NonCPS
    static Object typed(Object like, Object value) {
        if (like instanceof Boolean && (value as String) in ['true', 'false']) {
            return (value as String) == 'true'
        }
        return like instanceof Number ? (value as String) as int : value
    }

    /** Which value is not what its default is: a boolean, a whole number or a map. An empty text when none. */
    @NonCPS
    static String badType(String step, Map known, Map given) {
        return given.findAll { key, value -> value != null }.collect { key, value ->
            if (known[key] instanceof Boolean && !((value as String) in ['true', 'false'])) {
                return "${step}: ${key} is true or false, not '${Options.oneLine(value)}'".toString()
            }
            if (known[key] instanceof Number && !Options.isCount(value)) {
                return "${step}: ${key} is a whole number, not '${Options.oneLine(value)}'".toString()
            }
            boolean wrong = known[key] instanceof Map && !(value instanceof Map)
            return wrong ? "${step}: ${key} is a map, for example ${key}: [a: 'b']".toString() : ''
        }.find { text -> text } ?: ''
    }

    @NonCPS
    static boolean isCount(Object value) {
        return (value as String).matches('[0-9]{1,9}')
    }

    /** What is wrong with what stands in the brackets of a step, in one line; an empty text when nothing is. */
    @NonCPS
    static String unnamed(String step, Object given) {
        return given instanceof Map ? '' : "${step}: arguments have names, for example ${step}(python: 'python3.12')".toString()
    }

    /** What is wrong with the keys of `given`, in one line; an empty text when nothing is. */
    @NonCPS
    static String unknown(String step, Map given, Collection known) {
        String wrong = given.keySet().collect { key -> key as String }.find { key -> !known.contains(key) }
        if (wrong == null) {
            return ''
        }
        String near = nearest(wrong, known)
        String hint = near ? "did you mean '${near}'?" : "it takes: ${known.collect { key -> key as String }.sort().join(', ')}"
        return "${step}: there is no '${wrong}'; ${hint}"
    }

    /** What is wrong with a list of credentials, in one line; an empty text when nothing is. */
    @NonCPS
    static String badCredentials(String step, Object list) {
        if (!(list instanceof List)) {
            return "${step}: credentials is a list of [id:, kind:, …]"
        }
        return list.collect { item -> Options.badCredential(step, item) }.find { text -> text } ?: ''
    }

    @NonCPS
    static String badCredential(String step, Object item) {
        if (!(item instanceof Map) || !item.id || !item.kind) {
            return "${step}: a credential is written [id: 'api-key', kind: 'secret_text', variable: 'API_KEY']"
        }
        List names = KINDS[item.kind as String]
        if (names == null) {
            return "${step}: credential '${item.id}': there is no kind '${item.kind}'; kinds: ${KINDS.keySet().join(', ')}"
        }
        String missing = names.find { name -> !item[name] && !(item.kind == 'ssh_key' && name == 'user') }
        if (missing) {
            return "${step}: credential '${item.id}' of kind ${item.kind} needs '${missing}', the name of a variable"
        }
        return unknown("${step}: credential '${item.id}'", item, ['id', 'kind'] + names)
    }

    /** What is wrong with an `onFail`, in one line; an empty text when nothing is. */
    @NonCPS
    static String badResult(String step, Object word) {
        return word in [null, '', 'fail', 'unstable'] ? '' : "${step}: onFail is 'fail' or 'unstable', not '${word}'"
    }

    /** Names of the variables that a list of credentials sets. */
    @NonCPS
    static List variables(List credentials) {
        return credentials.collectMany { item ->
            Options.KINDS[item.kind as String].collect { name -> item[name] }
        }.findAll { name -> name }
    }

    /** The known word that is written most like `word`; null when none is near. */
    @NonCPS
    static String nearest(String word, Collection known) {
        String best = null
        int least = Integer.MAX_VALUE
        known.each { candidate ->
            int away = Options.distance(word.toLowerCase(), (candidate as String).toLowerCase())
            if (away < least) {
                least = away
                best = candidate
            }
        }
        return least <= Math.max(2, (int) (word.length() / 3)) ? best : null
    }

    /** Edit distance of two words, by the rows of Wagner and Fischer's table. */
    @NonCPS
    static int distance(String left, String right) {
        List row = (0..right.length()).toList()
        for (int i = 1; i <= left.length(); i++) {
            List next = [i]
            for (int j = 1; j <= right.length(); j++) {
                int change = left.substring(i - 1, i) == right.substring(j - 1, j) ? 0 : 1
                next << Math.min(Math.min((int) row[j] + 1, (int) next[j - 1] + 1), (int) row[j - 1] + change)
            }
            row = next
        }
        return row[right.length()]
    }

    /** One line that may stand in a description or a message: no line breaks, no markup, not too long. */
    @NonCPS
    static String oneLine(Object text, int most = 200) {
        String line = (text == null ? '' : text as String).replaceAll('[<>\\s]+', ' ').trim()
        return line.length() <= most ? line : line.substring(0, most - 1) + '…'
    }

}
