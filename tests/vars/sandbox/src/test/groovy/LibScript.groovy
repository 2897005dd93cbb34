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
            case 'isUnix': return true
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
                if (!first.returnStatus) {
                    return null
                }
                List words = new JsonSlurper().parseText(files[variables.MLCI_CALL]).arguments
                commands << words
                Map said = answer(words)
                files[variables.MLCI_ANSWER] = JsonOutput.toJson(said)
                return said.exit_code
            default: return [step: name]
        }
    }

    @Override
    Object getProperty(String name) {
        Map known = [env: variables, currentBuild: build, scm: [:], params: [:]]
        return known.containsKey(name) ? known[name] : super.getProperty(name)
    }
}
