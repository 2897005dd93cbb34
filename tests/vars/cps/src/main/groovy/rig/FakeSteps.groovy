package rig

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import hudson.AbortException
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** Steps for tests: files in memory, and `mlci` answered by a closure from its words to its answer. */
class FakeSteps implements Steps {

    static final String TMP = '/ws@tmp'

    List<Call> calls = []
    List<List> commands = []
    Map files = [:]
    /** Name of each step with the stage that it was called in. */
    List seen = []
    Closure answer = { List words -> [exit_code: 0] }
    /** Name of a step → what it returns or throws, in place of what is below. */
    Map replaced = [:]

    void saved(byte[] program) { }

    Object run(Call call, World world) {
        calls << call
        seen << [name: call.name, stage: world.environment().STAGE_NAME, label: call.arguments ? label(call.arguments[0]) : null]
        if (replaced.containsKey(call.name)) {
            return replaced[call.name].call(call, world)
        }
        switch (call.name) {
            case 'node': return [workspace: '/ws', env: [NODE_NAME: call.arguments[0] ?: 'any', WORKSPACE_TMP: TMP]]
            case 'isUnix': return true
            case 'dir': return call.arguments[0]
            case 'pwd': return TMP
            case 'withCredentials': return variables(call.arguments[0])
            case 'writeFile': files[call.arguments[0].file as String] = call.arguments[0].text; return null
            case 'fileExists': return files.containsKey(call.named('file').file as String)
            case 'readFile': return files[call.named('file').file as String]
            case 'libraryResource': return call.named('resource').resource.endsWith('.sha256') ? 'a' * 64 + '\n' : 'UEs='
            case 'sh': return sh(call, world)
            case 'input': return [BY: 'alice', REASON: 'because it is better in every respect']
            case 'build': throw new AbortException("No item named ${call.arguments[0].job} found")
            case 'error': throw new AbortException(call.named('message').message as String)
            case 'unstable':
                world.currentBuild.result = 'UNSTABLE'
                return null
            default: return null
        }
    }

    private static String label(Object argument) {
        return argument instanceof Map ? argument.label : null
    }

    /** What the script of mlci.Agent does; any other script ends with 0. */
    private Object sh(Call call, World world) {
        Map environment = world.environment()
        if (!call.arguments[0].returnStdout) {
            return call.arguments[0].returnStatus ? 0 : null
        }
        if (environment.MLCI_PART) {
            files[environment.MLCI_PYZ] = files.remove(environment.MLCI_PART)
        }
        if (!files[environment.MLCI_PYZ]) {
            return JsonOutput.toJson([exit_code: 75])
        }
        if (!environment.MLCI_CALL) {
            return JsonOutput.toJson([exit_code: 0])
        }
        String given = environment.MLCI_CALL
        List words = new JsonSlurper().parseText(given.startsWith('{') ? given : files[given]).arguments
        commands << words + [environment]
        return JsonOutput.toJson(answer(words))
    }

    private static Map variables(List bindings) {
        Map found = [:]
        bindings.each { binding ->
            binding.findAll { key, value -> key.toLowerCase().endsWith('variable') }.each { key, value ->
                found[value] = "secret-${binding.credentialsId}".toString()
            }
        }
        return found
    }

    /** Calls of one step. */
    List<Call> of(String name) {
        return calls.findAll { it.name == name }
    }

    /** Names of the stages, in order. */
    List stages() {
        return of('stage').collect { it.arguments[0] }
    }

    /** What Jenkins stops itself: a time limit, an agent that was lost. */
    static Throwable interrupted(String cause = 'Timeout has been exceeded') {
        return new FlowInterruptedException(false, [cause])
    }

    /** What a person or a newer build stops. */
    static Throwable aborted(String cause = 'Aborted by alice') {
        return new FlowInterruptedException(true, [cause])
    }
}
