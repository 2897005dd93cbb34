package mlci

import groovy.json.JsonOutput

/**
 * Runs mlci on the agent that the build is on.
 *
 * Arguments travel in a file and never meet a shell; the answer comes back in a file, because a step that returns
 * what a command printed cannot return its exit code.
 */
class Agent implements Serializable {

    private static final long serialVersionUID = 1L

    /** mlci.pyz on the agent is not the one of this library. */
    private static final int DAMAGED = 75

    /** Both what a step runs, without arguments, and the command `mlci` of withMlci. */
    private static final String SCRIPT = '''\
#!/bin/sh
if [ -n "${MLCI_PART:-}" ] && [ -f "$MLCI_PART" ]; then mv -f "$MLCI_PART" "$MLCI_PYZ"; fi
rm -f "${MLCI_ANSWER:-}"
find "${MLCI_PYZ%/*}"/mlci-call-* -prune -mtime +30 -exec rm -rf {} + 2>/dev/null
for python in ${MLCI_PYTHON:+"$MLCI_PYTHON"} python3 python3.13 python3.12 python3.11; do
    if command -v "$python" >/dev/null 2>&1; then exec "$python" "$MLCI_PYZ" "$@"; fi
    [ -z "${MLCI_PYTHON:-}" ] || break
done
echo "error DEP_PYTHON: this agent has no ${MLCI_PYTHON:-python3}" >&2
echo "  -> install Python 3.11, 3.12 or 3.13 on it, name one with python:, or give an agent image" >&2
exit 5
'''

    final Object script
    final Map options

    Agent(Object script, Map options) {
        this.script = script
        this.options = options
    }

    /** Runs one command. Its words are the command line; the map is its answer, `exit_code` always among it. */
    Map run(List words, String label) {
        if (!script.isUnix()) {
            script.error('mlci: agents run Linux or macOS; this one runs Windows')
        }
        String place = temporary()
        String mine = own(place)
        String answer = "${mine}/answer.json"
        script.writeFile(file: "${mine}/call.json", text: JsonOutput.toJson([arguments: words]), encoding: 'UTF-8')
        List variables = ["MLCI_CALL=${mine}/call.json", "MLCI_ANSWER=${answer}"] + environment()
        int code = start(place, variables, label)
        Map told = script.fileExists(answer) ? Json.read(script.readFile(file: answer, encoding: 'UTF-8')) : [:]
        return told + [exit_code: code]
    }

    /** Runs the body with `mlci` as a command in its path. */
    Object around(Closure body) {
        String place = temporary()
        String mine = own(place)
        List variables = install(place)
        script.writeFile(file: "${mine}/mlci", text: SCRIPT, encoding: 'UTF-8')
        script.withEnv(["MLCI_BIN=${mine}/mlci"]) {
            script.sh(label: 'mlci: put the command in the path', script: 'chmod +x "$MLCI_BIN"', encoding: 'UTF-8')
        }
        return script.withEnv(variables + environment() + ["PATH+MLCI=${mine}"]) { body() }
    }

    /**
     * A folder for one call alone: parallel branches on one agent share the workspace's temporary folder. Later calls remove
     * it, when it is a month old.
     */
    private static String own(String place) {
        return "${place}/mlci-call-${UUID.randomUUID()}"
    }

    private int start(String place, List variables, String label) {
        int code = DAMAGED
        for (int attempt = 0; attempt < 2 && code == DAMAGED; attempt++) {
            List installed = install(place)
            code = script.withEnv(variables + installed) {
                script.sh(label: label, script: SCRIPT, returnStatus: true, encoding: 'UTF-8')
            }
        }
        return code
    }

    /** Puts mlci.pyz on the agent unless this very one is there. It gets its name only when it is whole. */
    private List install(String place) {
        String digest = script.libraryResource(resource: 'mlci/mlci.pyz.sha256', encoding: 'UTF-8').trim()
        String pyz = "${place}/mlci-${digest.substring(0, 16)}.pyz"
        List variables = ["MLCI_PYZ=${pyz}", "MLCI_PYZ_SHA256=${digest}"]
        if (script.fileExists(pyz)) {
            return variables
        }
        String part = "${pyz}.${UUID.randomUUID()}"
        script.writeFile(
            file: part, text: script.libraryResource(resource: 'mlci/mlci.pyz', encoding: 'Base64'), encoding: 'Base64')
        return variables + ["MLCI_PART=${part}"]
    }

    private String temporary() {
        return script.env.WORKSPACE_TMP ?: script.pwd(tmp: true)
    }

    private List environment() {
        Map named = [MLCI_PYTHON: options.python, MLCI_CACHE: options.cache, MLCI_STORE: options.store]
        List variables = [] + (options.unset ?: [])
        for (String name in ['MLCI_PYTHON', 'MLCI_CACHE', 'MLCI_STORE']) {
            if (named[name]) {
                variables << "${name}=${named[name]}".toString()
            }
        }
        return variables
    }

}
