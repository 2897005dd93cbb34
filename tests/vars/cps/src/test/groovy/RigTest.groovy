import org.junit.Before
import org.junit.BeforeClass
import rig.Controller
import rig.FakeSteps
import rig.World

/** The library on the engine that Jenkins runs, with a plan, a gate and steps that a test may replace. */
abstract class RigTest {

    static final File ROOT = new File(System.getProperty('library.root')).canonicalFile
    static final List SERVERS = [
        [name: 'local', target: 'process'], [name: 'staging', target: 'container'], [name: 'production', target: 'service'],
        [name: 'product', target: 'package'],
    ]

    static Controller controller

    FakeSteps steps = new FakeSteps()
    Map variables = [:]
    Map parameters = [:]
    Set missing = [] as Set
    rig.Build previous
    Map plan = [name: 'flights', environments: SERVERS, store: [kind: 'object store', path: 's3://models/x', identity: 's3://models/x']]
    Map gate = [exit_code: 0, text: 'approved: roc_auc is 0.93']

    @BeforeClass
    static void compile() {
        controller = new Controller(ROOT)
    }

    @Before
    void start() {
        controller.steps = steps
        controller.saves = 0
        steps.answer = { List words ->
            Map known = [check: [exit_code: 0, plan: plan], validate: gate, pack: [exit_code: 0, bytes: 1000]]
            return known[words[0]] ?: [exit_code: 0, text: "${words[0]} done".toString(), folder: '.mlci/' + words[0]]
        }
    }

    /** A build of this script. */
    Object run(String script) {
        World world = controller.begin()
        world.variables = [:] + variables
        world.params = [:] + parameters
        world.missing = missing
        world.currentBuild.previousBuild = previous
        return controller.run(script, world)
    }

    String failure(String script) {
        try {
            run(script)
        } catch (hudson.AbortException refused) {
            return refused.message
        }
        return null
    }

    List words(int index) {
        return steps.commands[index][0..-2]
    }

    List commands() {
        return steps.commands.collect { it[0] }
    }

    /** What ended a build that was not refused by the library: class and message; null when nothing did. */
    Throwable thrown(String script) {
        try {
            run(script)
        } catch (Throwable found) {
            return found
        }
        return null
    }

    List said() {
        return steps.of('echo').collect { it.arguments[0] as String }
    }

    String description() {
        return controller.current.currentBuild.description ?: ''
    }

    /** Forget what earlier builds of this test did. */
    void again() {
        steps.calls.clear()
        steps.commands.clear()
        steps.seen.clear()
    }
}
