import com.cloudbees.groovy.cps.SerializableScript
import groovy.json.JsonOutput
import groovy.json.JsonSlurper

/** A script whose steps answer at once; one with a body goes on in the body. */
abstract class LibScript extends SerializableScript {

    static Closure answer
    static Map files = [:]
    static Map variables = [:]
    static Map vars = [:]
    static List commands = []
    static List echoes = []
    static Map build = [currentResult: 'SUCCESS']

    @Override
    Object invokeMethod(String name, Object args) {
        Object[] given = args instanceof Object[] ? args : [args] as Object[]
        if (vars[name]) {
            return vars[name].metaClass.invokeMethod(vars[name], 'call', given)
        }
        Object first = given ? given[0] : null
        Object last = given ? given[-1] : null
        if (name == 'withEnv') {
            // Nothing is done after the body here, so that what a call before this one set has to go now.
            variables.keySet().removeAll(['MLCI_CALL', 'MLCI_PART', 'MLCI_BIN'])
            first.each { String pair -> variables[pair.substring(0, pair.indexOf('='))] = pair.substring(pair.indexOf('=') + 1) }
        }
        if (name == 'node') {
            variables.NODE_NAME = first
            Object result = last.call()
            variables.remove('NODE_NAME')
            return result
        }
        if (last instanceof Closure) {
            return last.call()
        }
        switch (name) {
            case 'pwd': return '/ws@tmp'
            case 'writeFile': files[first.file as String] = first.text; return null
            case 'fileExists': return files.containsKey(first as String)
            case 'readFile': return files[first.file as String]
            case 'libraryResource': return first.resource.endsWith('.sha256') ? 'a' * 64 : 'UEs='
            case 'input': return [BY: 'alice', REASON: 'because it is better']
            case 'echo': echoes << first; return null
            case 'error': throw new IllegalStateException(first as String)
            case 'publishHTML': throw new NoSuchMethodError("No such DSL method 'publishHTML' found among steps")
            case 'sh':
                if (!first.returnStdout) {
                    return first.returnStatus ? 0 : null
                }
                if (variables.MLCI_PART) {
                    files.archive = 'there'
                }
                if (!files.archive) {
                    return '{"exit_code": 75}'
                }
                if (!variables.MLCI_CALL) {
                    return '{"exit_code": 0}'
                }
                List words = new JsonSlurper().parseText(variables.MLCI_CALL).arguments
                commands << words
                return JsonOutput.toJson(answer(words))
            default: return [step: name]
        }
    }

    @Override
    Object getProperty(String name) {
        Map known = [env: variables, currentBuild: build, scm: [:], params: [:]]
        return known.containsKey(name) ? known[name] : super.getProperty(name)
    }
}
