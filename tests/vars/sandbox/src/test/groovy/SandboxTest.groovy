import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.Continuation
import com.cloudbees.groovy.cps.impl.CpsCallableInvocation
import com.cloudbees.groovy.cps.impl.FunctionCallEnv
import com.cloudbees.groovy.cps.sandbox.SandboxInvoker
import com.cloudbees.groovy.cps.SandboxCpsTransformer
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer
import org.junit.Before
import org.junit.BeforeClass
import org.junit.Test

/** The library calls nothing that Jenkins' sandbox refuses, so that it runs as a folder library. */
class SandboxTest {

    static final File ROOT = new File(System.getProperty('library.root')).canonicalFile
    static final List SERVERS = [[name: 'staging', target: 'container'], [name: 'production', target: 'service'], [name: 'product', target: 'package']]

    static GroovyShell shell
    static List reviewed

    AllowList list

    @BeforeClass
    static void compile() {
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.scriptBaseClass = LibScript.name
        configuration.addCompilationCustomizers(new SandboxCpsTransformer())
        ImportCustomizer imports = new ImportCustomizer()
        imports.addStarImports('com.cloudbees.groovy.cps')
        configuration.addCompilationCustomizers(imports)
        shell = new GroovyShell(SandboxTest.classLoader, new Binding(), configuration)
        shell.classLoader.addURL(new File(ROOT, 'src').toURI().toURL())
        new File(ROOT, 'vars').eachFileMatch(~/.*\.groovy/) { File file ->
            LibScript.vars[file.name - '.groovy'] = shell.parse(file.getText('UTF-8'), file.name)
        }
        reviewed = SandboxTest.getResource('/allowed.txt').readLines('UTF-8').findAll { it && !it.startsWith('#') }
    }

    @Before
    void start() {
        list = new AllowList(reviewed)
        LibScript.files = [:]
        LibScript.variables = [:]
        LibScript.commands = []
        LibScript.echoes = []
        LibScript.build = [currentResult: 'SUCCESS', fullDisplayName: 'flights #7']
        LibScript.answer = { List words ->
            Map plan = [name: 'flights', environments: SERVERS, store: [kind: 'directory', path: '/s', identity: '1']]
            Map known = [check: [exit_code: 0, plan: plan], pack: [exit_code: 0, bytes: 9]]
            return known[words[0]] ?: [exit_code: 0, text: 'fine', folder: '.mlci/x', junit: true, report: true, checks: '.mlci/x/summary.md']
        }
    }

    Object run(String text) {
        list.register()
        try {
            LibScript script = (LibScript) shell.parse(text, 'WorkflowScript')
            try {
                return script.run()
            } catch (CpsCallableInvocation call) {
                FunctionCallEnv env = new FunctionCallEnv(null, Continuation.HALT, null, null, 0)
                env.invoker = new SandboxInvoker()
                Continuable program = new Continuable(call.invoke(env, null, Continuation.HALT))
                return program.run(null)
            }
        } finally {
            list.unregister()
        }
    }

    String failure(String text) {
        try {
            run(text)
        } catch (Throwable thrown) {
            Throwable cause = thrown
            while (cause.cause && !cause.cause.is(cause)) {
                cause = cause.cause
            }
            return cause.message
        }
        return null
    }

    @Test
    void theListRefuses() {
        assert failure("System.getenv('HOME')").contains('static java.lang.System getenv')
        assert failure("new File('/etc/passwd').text").contains('new java.io.File')
        assert failure("['a'].asImmutable()").contains('method java.util.ArrayList asImmutable')
        assert failure("'ls'.execute()").contains('method java.lang.String execute')
    }

    @Test
    void theWholePipeline() {
        run("""mlPipeline(agents: [deploy: 'docker'], mail: 'a@b', timeouts: [train: 5], retries: [train: 1], set: ['a.b': 1],
            credentials: [all: [[id: 'a', kind: 'ssh_key', variable: 'KEY', user: 'U']],
                production: [[id: 'b', kind: 'secret_text', variable: 'X'], [id: 'c', kind: 'username_password', user: 'A', password: 'B'], [id: 'd', kind: 'secret_file', variable: 'F']]])""")
        assert LibScript.commands.collect { it[0] }.count('deploy') == 3
    }

    @Test
    void pullRequestsDryRunsAndRefusals() {
        LibScript.variables = [CHANGE_ID: '7']
        run('mlPipeline()')
        LibScript.variables = [:]
        run("mlPipeline(dryRun: true, credentials: [all: [[id: 'a', kind: 'secret_text', variable: 'KEY']]])")
        assert LibScript.echoes[-1].contains('deploy to production')
        assert failure("mlPipeline(enviroments: [])").contains("did you mean 'environments'")
        assert failure("mlPipeline(zzzzzzzzzzzzzzz: 1)").contains('it takes: agent, agents')
        assert failure("mlPipeline(environments: ['x'])").contains("there is no 'x'")
        assert failure("mlPipeline(approval: 3)").contains('approval is a map')
        assert failure("mlPipeline('x')").contains('arguments have names')
        assert failure("mlPipeline(timeouts: [train: '1h'])").contains("not '1h'")
        assert failure("mlPipeline(dryRun: 'no', first: 'false')").contains('dryRun is true or false')
        LibScript.variables = [:]
        assert failure('mlTrain()').contains('runs on an agent')
        LibScript.variables = [BRANCH_NAME: 'main', JOB_NAME: 'ml/flights/main']
        assert failure("mlPipeline(protect: true, set: [a: ['é']])").startsWith('mlPipeline: null: handed over to /ml/deploy/flights #null')
        LibScript.variables = [NODE_NAME: 'any']
        assert failure("mlTrain(set: [a: { 1 }])").contains('which is no text')
        run("""mlTrain(set: [a: [b: ['é"', 'plain', 1, true]]])""")
        assert LibScript.commands[-1][-1] == '--set=a={"b": ["é\\"", "plain", 1, true]}'
        LibScript.variables = [:]
        assert failure("mlPipeline(branch: ['a'], credentials: [all: [[id: 'a', kind: 'b']]])").contains("no kind 'b'")
    }

    @Test
    void everyStep() {
        LibScript.variables = [NODE_NAME: 'any']
        run("""
            mlPrepare(python: 'p', cache: 'c', store: 's', dir: 'd', verbose: true)
            mlTrain(verifyReproducible: true)
            mlTest()
            mlValidate(first: true)
            mlDeploy(env: 'a', override: 'b', by: 'c')
            mlRollback(env: 'a', to: 'b', by: 'c')
            withMlci(credentials: [[id: 'a', kind: 'ssh_key', variable: 'KEY']]) { echo 'in' }
        """)
        assert LibScript.commands.size() == 6
    }

    @Test
    void failures() {
        LibScript.variables = [NODE_NAME: 'any']
        LibScript.answer = { List words -> [exit_code: 5, error: [code: 'X', what: 'w', todo: 't']] }
        assert failure("mlDeploy(retries: '1', verbose: 'true')").contains('exit 5 X: w; t')
        LibScript.answer = { List words -> [exit_code: 4, text: 'cannot tell', verdict: 'inconclusive', inconclusive: 'ask'] }
        run('mlValidate()')
        run('mlValidate(ask: true)')
    }

    @Test
    void nothingOnTheListIsUnused() {
        ['theWholePipeline', 'pullRequestsDryRunsAndRefusals', 'everyStep', 'failures'].each { String name ->
            start()
            this."${name}"()
        }
        assert reviewed.findAll { !(it in AllowList.SEEN) }.isEmpty()
    }
}
