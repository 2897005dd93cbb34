import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.junit.Test
import rig.Call
import rig.FakeSteps
import rig.World

/** How a build ends that does not end well, or that ends well and deployed nothing: what it says, and who hears of it. */
class EndTest extends RigTest {

    static final String MAIL = "mlPipeline(mail: 'team@example.com')"

    /** Training ends as `end`. */
    void training(Throwable end) {
        steps.replaced.sh = { Call call, World here ->
            if (call.arguments[0].label == 'mlci train') {
                throw end
            }
            return steps.sh(call, here)
        }
    }

    @Test
    void aStageThatHangsIsMailed() {
        for (String cause in ['Timeout has been exceeded', 'Agent was removed']) {
            again()
            training(FakeSteps.interrupted(cause))
            assert thrown(MAIL) instanceof FlowInterruptedException
            assert steps.of('mail').collect { it.arguments[0].subject } == ['ABORTED: flights #7']
            assert description() == "stopped in stage Train: ${cause}"
        }
    }

    @Test
    void whatAPersonOrANewerBuildEndsIsNotMailed() {
        for (String cause in ['Aborted by alice', 'Superseded by flights #8']) {
            again()
            training(FakeSteps.aborted(cause))
            assert thrown(MAIL) instanceof FlowInterruptedException
            assert steps.of('mail').isEmpty()
            assert description() == "stopped in stage Train: ${cause}"
        }
    }

    @Test
    void aTimeLimitAroundThePipelineIsATimeLimit() {
        training(FakeSteps.aborted('Timeout has been exceeded'))
        assert thrown(MAIL) instanceof FlowInterruptedException
        assert steps.of('mail').collect { it.arguments[0].subject } == ['ABORTED: flights #7']
        assert description() == 'stopped in stage Train: Timeout has been exceeded'
    }

    @Test
    void anInterruptionThatJenkinsDoesNotExplainIsASentence() {
        training(FakeSteps.aborted(''))
        thrown(MAIL)
        assert description() == 'stopped in stage Train by a person or a newer build'
        again()
        training(FakeSteps.interrupted(''))
        thrown(MAIL)
        assert description() == 'stopped in stage Train: its time limit was exceeded, or its agent was lost'
    }

    @Test
    void aBuildThatANewerOneOvertookSaysSo() {
        steps.replaced.milestone = { Call call, World here -> throw FakeSteps.aborted('') }
        thrown(MAIL)
        assert description().endsWith('stopped in stage Validate: superseded by a newer build')
        assert steps.of('mail').isEmpty()
    }

    @Test
    void anApprovalThatNobodyGaveSaysSo() {
        steps.replaced.input = { Call call, World here -> throw FakeSteps.interrupted() }
        thrown(MAIL)
        assert description().endsWith('not deployed: nobody answered in stage Approve production in time')
        assert steps.of('mail').isEmpty()
        again()
        steps.replaced.input = { Call call, World here -> throw FakeSteps.aborted('Rejected by bob') }
        thrown(MAIL)
        assert description().endsWith('stopped in stage Approve production: Rejected by bob')
    }

    @Test
    void anErrorOfGroovyIsMailedLikeAnyOther() {
        steps.replaced.stash = { Call call, World here -> throw new NoSuchMethodError("No such DSL method 'stash' found") }
        assert thrown(MAIL) instanceof NoSuchMethodError
        assert steps.of('mail').size() == 1
    }

    @Test
    void aBuildThatDeploysNothingSaysWhy() {
        Map why = [
            [[CHANGE_ID: '7', BRANCH_NAME: 'PR-7'], '']: 'this is a pull request',
            [[TAG_NAME: 'v1', BRANCH_NAME: 'v1'], '']: 'this is the tag v1',
            [[BRANCH_NAME: 'develop'], '']: 'branch develop does not deploy (branch: the main branch)',
            [[BRANCH_NAME: 'trunk'], '']: 'branch trunk does not deploy (branch: the main branch)',
            [[BRANCH_NAME: 'main'], "branch: ['release', 'hotfix']"]: 'branch main does not deploy (branch: release, hotfix)',
            [[:], 'environments: []']: 'environments: names none',
        ]
        why.each { given, text -> saysWhy(given[0], given[1], text) }
        plan.environments = []
        saysWhy([:], '', 'deploy: of the configuration has no environment')
        plan.environments = [[name: 'local', target: 'process']]
        saysWhy([:], '', 'a process environment is deployed only where environments: names it (local)')
        gate = [exit_code: 4, verdict: 'failed', inconclusive: 'ask', on_fail: 'unstable', text: 'not approved']
        plan.environments = SERVERS
        saysWhy([:], '', 'the gate did not approve the model')
    }

    void saysWhy(Map branch, String arguments, String text) {
        again()
        variables = branch
        run("mlPipeline(${arguments})")
        assert !('deploy' in commands())
        assert said().contains("mlci: nothing was deployed: ${text}".toString())
        assert description().endsWith("not deployed: ${text}")
    }

    @Test
    void aServiceThatEndsWithTheBuildIsAnnouncedInCheck() {
        plan.environments = [[name: 'local', target: 'process', keep: false], [name: 'kept', target: 'process', keep: true]]
        run("mlPipeline(environments: ['local', 'kept'], approval: false)")
        Map first = steps.seen.find { it.name == 'echo' }
        assert first.stage == 'Check'
        assert said()[0] == 'mlci: the service of local ends with this build; to let it stay, set deploy.local.keep: true'
        again()
        run("mlPipeline(environments: ['kept'], approval: false)")
        assert said().isEmpty()
    }

    @Test
    void anImageThatCannotBeUsedIsASentence() {
        steps.replaced.docker = { Call call, World here -> throw new hudson.AbortException('script returned exit code 127') }
        assert failure("mlPipeline(image: 'full:1')") == "mlPipeline: image 'full:1' cannot be used on agent 'any'; the agent needs the " +
            'command docker, a running engine that this user may use, and access to the image: script returned exit code 127'
        steps.replaced.docker = { Call call, World here -> throw new MissingPropertyException('docker', Script) }
        assert failure("mlPipeline(image: 'full:1')").contains('install the plugin Docker Pipeline')
        steps.replaced.remove('docker')
        training(new hudson.AbortException('its own error'))
        assert failure("mlPipeline(image: 'full:1')") == 'its own error'
    }
}
