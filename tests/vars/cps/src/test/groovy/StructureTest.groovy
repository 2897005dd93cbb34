import com.lesfurets.jenkins.unit.BasePipelineTest
import org.junit.Before
import org.junit.Test

/** How the calls are nested, on JenkinsPipelineUnit: what is bound or limited encloses what it is for. */
class StructureTest extends BasePipelineTest {

    static final File ROOT = new File(System.getProperty('library.root')).canonicalFile

    Map files = [:]

    @Override
    @Before
    void setUp() throws Exception {
        scriptRoots = [new File(ROOT, 'vars').path, new File(ROOT, 'src').path] as String[]
        super.setUp()
        helper.registerAllowedMethod('pwd', [Map]) { '/ws@tmp' }
        helper.registerAllowedMethod('writeFile', [Map]) { Map m -> files[m.file as String] = m.text }
        helper.registerAllowedMethod('libraryResource', [Map]) { Map m -> m.resource.endsWith('256') ? 'a' * 64 : 'UEs=' }
        helper.registerAllowedMethod('withEnv', [List, Closure]) { List pairs, Closure body -> body() }
        helper.registerAllowedMethod('timeout', [Map, Closure]) { Map limit, Closure body -> body() }
        helper.registerAllowedMethod('withCredentials', [List, Closure]) { List bindings, Closure body -> body() }
        helper.registerAllowedMethod('string', [Map]) { Map m -> m }
        helper.registerAllowedMethod('archiveArtifacts', [Map]) { }
        helper.registerAllowedMethod('error', [String]) { String text -> throw new IllegalStateException(text) }
        helper.registerAllowedMethod('sh', [Map]) { Map m -> '{"exit_code": 0, "text": "fine", "folder": ".mlci/train"}' }
        binding.setVariable('env', [NODE_NAME: 'any'])
        binding.setVariable('currentBuild', [:])
    }

    Object step(String name) {
        return helper.loadScript("${name}.groovy", binding)
    }

    List path(String name) {
        List calls = helper.callStack
        int index = calls.findIndexOf { it.methodName == name }
        List found = []
        int depth = calls[index].stackDepth
        for (int i = index; i >= 0; i--) {
            if (calls[i].stackDepth < depth || i == index) {
                found.add(0, calls[i].methodName)
                depth = calls[i].stackDepth
            }
        }
        return found
    }

    @Test
    void credentialsAndTimeEncloseTheCommand() {
        step('mlTrain').call(timeout: 5, credentials: [[id: 'x', kind: 'secret_text', variable: 'X']])
        assert path('sh').findAll { it in ['withCredentials', 'timeout', 'withEnv', 'sh'] } == ['withCredentials', 'timeout', 'withEnv', 'sh']
    }

    @Test
    void resultsArePublishedWithoutCredentials() {
        step('mlTrain').call(timeout: 5, credentials: [[id: 'x', kind: 'secret_text', variable: 'X']])
        assert !path('archiveArtifacts').contains('withCredentials')
    }
}
