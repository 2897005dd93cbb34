package mlci

/** One command of mlci as a step: arguments in, published results and the build's result out. */
class Stage implements Serializable {

    private static final long serialVersionUID = 1L

    /** The quality gate, or tests, said no or could not tell. */
    static final int REFUSED = 4

    /** Something outside failed: worth another try. */
    static final int OUTSIDE = 5

    final Object script
    final String step
    final Map options
    /** What the command answered, also when that ended the build. */
    Map answer = [:]

    /** `own`: the arguments that only this step takes, with their defaults. */
    static Stage of(Object script, String step, Map own, Object given, Map common = Options.COMMON) {
        Map known = [:] + Options.PLACE + common + own
        String problem = Options.unnamed(step, given) ?: Options.unknown(step, given, known.keySet() as List) ?:
            Options.badType(step, known, given) ?: Options.badCredentials(step, given.credentials ?: []) ?:
            Options.badResult(step, given.onFail)
        problem = problem ?: Setting.wrong(step, given.set ?: [:])
        if (!problem && script.env.NODE_NAME == null) {
            problem = "${step}: this runs on an agent; call it inside of node { } or of a stage that has one"
        }
        if (problem) {
            script.error(problem)
        }
        return new Stage(script, step, Options.merged(known, given))
    }

    Stage(Object script, String step, Map options) {
        this.script = script
        this.step = step
        this.options = options
    }

    /** Runs `mlci <command> <words>`, publishes what it left, and sets the build's result. Returns its answer. */
    Map run(String command, List words = []) {
        answer = bound(options.credentials) { limited { attempts(command, words) } }
        Publisher publisher = new Publisher(script)
        publisher.publish(command, answer, options.dir as String)
        if (command in ['validate', 'deploy', 'rollback'] || answer.exit_code != 0) {
            publisher.describe(answer.text ?: answer.error?.what)
        }
        if (!options.checksLater) {
            publisher.check(answer, options.dir as String)
        }
        judge(command, answer)
        return answer
    }

    /** Runs a command that leaves no record of a stage. Ends the build unless it went well. */
    Map call(String command, List words = []) {
        answer = bound(options.credentials) { limited { attempts(command, words) } }
        if (answer.exit_code != 0) {
            script.error(sentence(command, answer))
        }
        return answer
    }

    /** Ends the build when one of these credentials is missing: better now than after hours of training. */
    void find(List credentials) {
        bound(credentials) { null }
    }

    /** The body with `mlci` in its path. */
    Object around(Closure body) {
        return bound(options.credentials) { new Agent(script, options).around(body) }
    }

    private Map attempts(String command, List words) {
        Map found = [:]
        int tries = 1 + (options.retries as int)
        for (int attempt = 1; attempt <= tries; attempt++) {
            found = new Agent(script, options).run([command] + words + common(), 'mlci ' + command)
            if (found.exit_code != OUTSIDE || attempt == tries) {
                return found
            }
            script.echo("mlci ${command}: try ${attempt} of ${tries} failed outside of mlci; once more in ${10 * attempt} s")
            script.sleep(time: 10 * attempt, unit: 'SECONDS')
        }
        return found
    }

    private List common() {
        List words = ["--config=${options.config}".toString()]
        if (options.dir) {
            words += ['-C', options.dir as String]
        }
        List names = options.set.keySet() as List
        for (int i = 0; i < names.size(); i++) {
            words << "--set=${names[i]}=${Setting.text(options.set[names[i]])}".toString()
        }
        return options.verbose ? words + ['--verbose'] : words
    }

    private Object limited(Closure body) {
        int minutes = options.timeout as int
        return minutes > 0 ? script.timeout(time: minutes, unit: 'MINUTES') { body() } : body()
    }

    private Object bound(List credentials, Closure body) {
        if (!credentials) {
            return body()
        }
        List bindings = []
        for (int i = 0; i < credentials.size(); i++) {
            bindings << binding(credentials[i])
        }
        return script.withCredentials(bindings) { body() }
    }

    private Object binding(Map item) {
        switch (item.kind) {
            case 'secret_text':
                return script.string(credentialsId: item.id, variable: item.variable)
            case 'username_password':
                return script.usernamePassword(
                    credentialsId: item.id, usernameVariable: item.user, passwordVariable: item.password)
            case 'secret_file':
                return script.file(credentialsId: item.id, variable: item.variable)
            default:
                Map key = [credentialsId: item.id, keyFileVariable: item.variable]
                return script.sshUserPrivateKey(item.user ? key + [usernameVariable: item.user] : key)
        }
    }

    /** Exit code → result of the build. */
    private void judge(String command, Map answer) {
        int code = answer.exit_code
        if (code == 0) {
            return
        }
        String text = sentence(command, answer)
        boolean untold = code == REFUSED && answer.verdict == 'inconclusive' && answer.inconclusive == 'ask'
        boolean asked = command == 'validate' && code == REFUSED && (options.askAnyway || (untold && options.ask))
        if (asked) {
            script.echo(text)
        } else if (untold || (code == REFUSED && (options.onFail ?: answer.on_fail) == 'unstable')) {
            script.unstable(text)
        } else {
            script.error(text)
        }
    }

    private static String sentence(String command, Map answer) {
        Map error = answer.error ?: [:]
        String what = error.what ?: answer.text ?: 'see the log above'
        String todo = error.todo ? "; ${error.todo}" : ''
        return Options.oneLine("mlci ${command}: exit ${answer.exit_code} ${error.code ?: ''}: ${what}${todo}", 1000)
    }

}
