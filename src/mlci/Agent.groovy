package mlci

import groovy.json.JsonOutput

/**
 * Runs mlci on the agent that the build is on, as one labelled step.
 *
 * Arguments travel in a variable or a file and never become part of a shell line. The answer is what the step returns; the
 * log of the command goes to standard error, so that people see it while it runs.
 */
class Agent implements Serializable {

    private static final long serialVersionUID = 1L

    /** mlci.pyz is not on the agent, or is not the one of this library. */
    private static final int MISSING = 75

    /** Linux takes no variable of more than 131,072 bytes; longer arguments travel in a file. */
    private static final int LONGEST = 100000

    /** Both what a step runs and, for withMlci, what makes the command `mlci`. */
    private static final String SCRIPT = '''\
#!/bin/sh
exec 3>&1 1>&2
place=${MLCI_PYZ%/*}
mkdir -p "$place"
if [ -n "${MLCI_PART:-}" ] && [ -f "$MLCI_PART" ]; then mv -f "$MLCI_PART" "$MLCI_PYZ"; fi
find "$place"/mlci-call-* "$place"/mlci-part-* -prune -mtime +30 -exec rm -rf {} + 2>/dev/null
if [ ! -f "$MLCI_PYZ" ]; then
    echo '{"exit_code": 75}' >&3
    exit 0
fi
if [ -z "${MLCI_CALL:-}${MLCI_BIN:-}" ]; then
    echo '{"exit_code": 0}' >&3
    exit 0
fi
folder=${MLCI_BIN:-}
if [ -n "$folder" ]; then
    mkdir -p "$folder"
elif ! folder=$(mktemp -d "$place/mlci-call-XXXXXX"); then
    echo '{"exit_code": 5}' >&3
    exit 0
fi
cat > "$folder/mlci" <<'END'
#!/bin/sh
for python in ${MLCI_PYTHON:+"$MLCI_PYTHON"} python3 python3.13 python3.12 python3.11; do
    if command -v "$python" >/dev/null 2>&1; then exec "$python" "$MLCI_PYZ" "$@"; fi
    [ -z "${MLCI_PYTHON:-}" ] || break
done
echo "error DEP_PYTHON: this agent has no ${MLCI_PYTHON:-python3}" >&2
echo "  -> install Python 3.11, 3.12 or 3.13 on it, name one with python:, or give an agent image" >&2
exit 5
END
chmod +x "$folder/mlci"
if [ -z "${MLCI_CALL:-}" ]; then
    echo '{"exit_code": 0}' >&3
    exit 0
fi
MLCI_ANSWER=$folder/answer.json sh "$folder/mlci" 3>&-
code=$?
if [ -s "$folder/answer.json" ]; then cat "$folder/answer.json" >&3; else printf '{"exit_code": %d}' "$code" >&3; fi
rm -rf "$folder"
'''

    final Object script
    final Map options

    Agent(Object script, Map options) {
        this.script = script
        this.options = options
    }

    /** Runs one command. Its words are the command line; the map is its answer, `exit_code` always among it. */
    Map run(List words, String label) {
        String place = temporary()
        String call = callOf(words, place)
        return start(place, ["MLCI_CALL=${call}".toString()] + environment(), label)
    }

    /** Runs the body with `mlci` as a command in its path. */
    Object around(Closure body) {
        String place = temporary()
        String mine = "${place}/mlci-call-${UUID.randomUUID()}"
        start(place, ["MLCI_BIN=${mine}".toString()] + environment(), 'mlci: put the command in the path')
        return script.withEnv(located(place) + environment() + ["PATH+MLCI=${mine}".toString()]) { body() }
    }

    /** Puts mlci.pyz on the agent unless it is there, so that no stage has to. */
    void prepare() {
        String place = temporary()
        List variables = located(place)
        if (!script.fileExists((variables[0] as String).substring('MLCI_PYZ='.length()))) {
            once(variables + [install(place)], 'mlci: put mlci.pyz on the agent')
        }
    }

    /** The arguments as a text for MLCI_CALL. `$` would be a variable to withEnv. */
    private String callOf(List words, String place) {
        String call = JsonOutput.toJson([arguments: words]).replaceAll('[$]', '\\\\u0024')
        if (call.length() <= LONGEST) {
            return call
        }
        String file = "${place}/mlci-call-${UUID.randomUUID()}.json"
        script.writeFile(file: file, text: call, encoding: 'UTF-8')
        return file
    }

    private Map start(String place, List variables, String label) {
        List all = variables + located(place)
        Map answer = once(all, label)
        for (int attempt = 0; attempt < 2 && answer.exit_code == MISSING; attempt++) {
            answer = once(all + [install(place)], label)
        }
        return answer
    }

    private Map once(List variables, String label) {
        String said = script.withEnv(variables) {
            script.sh(label: label, script: SCRIPT, returnStdout: true, encoding: 'UTF-8')
        }
        return [exit_code: 1] + Json.read(said)
    }

    /** Writes mlci.pyz beside its place: the next script moves it there, so that it is never half there. */
    private String install(String place) {
        String part = "${place}/mlci-part-${UUID.randomUUID()}"
        script.writeFile(
            file: part, text: script.libraryResource(resource: 'mlci/mlci.pyz', encoding: 'Base64'), encoding: 'Base64')
        return "MLCI_PART=${part}"
    }

    /** Where mlci.pyz of this library is on the agent. The library is asked once a build. */
    private List located(String place) {
        String digest = script.env.MLCI_LIBRARY_SHA256
        if (!digest?.matches('[0-9a-f]{64}')) {
            digest = script.libraryResource(resource: 'mlci/mlci.pyz.sha256', encoding: 'UTF-8').trim()
            script.env.MLCI_LIBRARY_SHA256 = digest
        }
        String pyz = "${place}/mlci-${digest.substring(0, 16)}.pyz"
        return ["MLCI_PYZ=${pyz}".toString(), "MLCI_PYZ_SHA256=${digest}".toString()]
    }

    private String temporary() {
        String place = script.env.WORKSPACE_TMP ?: script.pwd(tmp: true)
        if (place.contains('\\')) {
            script.error('mlci: agents run Linux or macOS; this one runs Windows')
        }
        return place
    }

    private List environment() {
        Map named = [
            MLCI_PYTHON: options.python, MLCI_CACHE: options.cache, MLCI_STORE: options.store,
            MLCI_CACHE_DOMAIN: options.trusted || Course.mayDeploy(Course.branchOf(script.env), '') ? '' : 'untrusted']
        List variables = [] + (options.unset ?: [])
        for (String name in ['MLCI_PYTHON', 'MLCI_CACHE', 'MLCI_STORE', 'MLCI_CACHE_DOMAIN']) {
            if (named[name]) {
                variables << "${name}=${named[name]}".toString()
            }
        }
        return variables
    }

}
