import org.junit.Test

/** What the views of a build show of the library: few steps in a stage, each with a name that says what it does. */
class NoiseTest extends RigTest {

    /** Steps whose name and argument say what they do; `sh` needs a label. Blocks are no steps of a stage's list. */
    static final Set NAMED = [
        'junit', 'publishHTML', 'archiveArtifacts', 'publishChecks', 'stash', 'unstash', 'input', 'milestone', 'checkout', 'build',
    ] as Set
    static final Set BLOCKS = ['node', 'stage', 'dir', 'withCredentials', 'timeout', 'retry', 'lock', 'docker'] as Set
    static final Map ALL = [
        junit: true, report: true, card: '.mlci/card', checks: '.mlci/validate/summary.md', summary_text: 'fine']

    /** Stage → the steps that a view lists. */
    Map visible() {
        return steps.seen.findAll { it.stage && !(it.name in BLOCKS) }.groupBy { it.stage }
    }

    void check(int most = 4) {
        visible().each { stage, found ->
            assert found.size() <= most, "${stage}: ${found*.name}"
            assert found.every { it.name in NAMED || (it.name == 'sh' && it.label) }, "${stage}: ${found}"
        }
    }

    void everythingPublished() {
        Closure before = steps.answer
        Map files = [test: ['junit'], train: ['card'], validate: ['junit', 'report', 'checks', 'summary_text']]
        steps.answer = { List words ->
            String stage = words[0]
            Map found = before(words) + (stage in files ? [folder: ".mlci/${stage}".toString()] : [:])
            found + ALL.subMap(files[stage] ?: [])
        }
    }

    @Test
    void aStageShowsAtMostFourStepsEachWithAName() {
        everythingPublished()
        run("mlPipeline(agents: [deploy: 'docker'], credentials: [all: [[id: 'k', kind: 'secret_text', variable: 'K']]])")
        assert visible().keySet() as List ==
            ['Check', 'Prepare', 'Train', 'Test', 'Validate', 'Deploy staging', 'Approve production', 'Deploy production', 'Build product']
        check()
        assert visible().Validate*.name == ['sh', 'junit', 'publishHTML', 'archiveArtifacts']
        assert visible()['Deploy staging']*.name == ['unstash', 'sh', 'sh', 'archiveArtifacts']
    }

    @Test
    void alsoOnAPullRequestAndOnAnAgentThatHasNothingYet() {
        everythingPublished()
        variables = [CHANGE_ID: '7', BRANCH_NAME: 'PR-7']
        run('mlPipeline()')
        check()
        assert steps.of('publishChecks').size() == 1 && steps.of('readFile').isEmpty()
    }

    @Test
    void aStepAloneIsOneStepAndWhatItPublishes() {
        run('''node { stage('One') { mlPrepare() }; stage('Two') { mlTrain() }; stage('Three') { withMlci { } } }''')
        assert visible().Two*.name == ['sh', 'archiveArtifacts']
        assert visible().Three*.name == ['sh']
        assert visible().Two[0].label == 'mlci train'
        again()
        steps.files['/ws@tmp/mlci-aaaaaaaaaaaaaaaa.pyz'] = 'UEs='
        run('''node { stage('One') { mlPrepare() } }''')
        assert visible().One*.name == ['libraryResource', 'sh', 'archiveArtifacts']
    }

    @Test
    void nothingAsksTheAgentWhatAScriptCanFindOut() {
        run('mlPipeline()')
        ['isUnix', 'readFile', 'pwd'].each { assert steps.of(it).isEmpty() }
        assert steps.of('libraryResource').size() == 2 && steps.of('writeFile').size() == 1
    }

    @Test
    void pagesOfSeveralModelsHaveNamesOfTheirOwn() {
        steps.answer = { List words ->
            String dir = words.contains('-C') ? words[words.indexOf('-C') + 1] + '/' : ''
            [exit_code: 0, report: true, card: "${dir}.mlci/card".toString(), folder: "${dir}.mlci/validate".toString(), text: 'x']
        }
        run('''node { mlValidate(); mlValidate(dir: 'models/a'); mlValidate(dir: 'models/b') }''')
        assert steps.of('publishHTML').collect { it.arguments[0].target.reportName } == [
            'mlci report', 'Model card', 'mlci report (models/a)', 'Model card (models/a)', 'mlci report (models/b)', 'Model card (models/b)']
    }

    @Test
    void modelsInFoldersThatAreEnteredDoNotOverwriteEachOther() {
        List models = ['a', 'a', 'b', 'b']
        int count = 0
        steps.answer = { List words -> [exit_code: 0, report: true, folder: '.mlci/' + words[0], model: models[count++], text: 'x'] }
        steps.replaced.node = { call, here -> [workspace: '/ws', env: [NODE_NAME: 'x', WORKSPACE: '/ws', WORKSPACE_TMP: '/ws@tmp']] }
        run('''node { dir('a') { mlTrain(); mlValidate() }; dir('b') { mlTrain(); mlValidate() } }''')
        assert steps.of('archiveArtifacts').collect { it.arguments[0].artifacts } ==
            ['.mlci/train/**', '.mlci/validate/**', 'b/.mlci/train/**', 'b/.mlci/validate/**']
        assert steps.of('publishHTML').collect { it.arguments[0].target.reportName }.unique() == ['mlci report (a)', 'mlci report (b)']
    }

    @Test
    void theSecondPipelineOfABuildPassesLaterMilestones() {
        run("mlPipeline(dir: 'a', approval: false); mlPipeline(dir: 'b', approval: false)")
        List ordinals = steps.of('milestone').collect { it.arguments[0].ordinal }
        assert ordinals.size() == 6 && ordinals == ordinals.sort(false).unique(false)
        again()
        steps.replaced.milestone = { call, here -> throw new hudson.AbortException('Using a milestone step inside parallel is not allowed') }
        run("mlPipeline(environments: ['staging'])")
        assert 'deploy' in commands()
    }
}
