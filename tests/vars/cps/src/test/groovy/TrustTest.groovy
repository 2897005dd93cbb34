import org.junit.Test
import rig.Call
import rig.World

/**
 * What the Jenkinsfile of a branch can reach, where jenkins.yaml says `protect: true`: the folder of the branches has no credential
 * of a deployment, the job in the folder `deploy` has them and runs the main branch alone.
 */
class TrustTest extends RigTest {

    static final String JOB = '/ml/deploy/flights'
    static final String KEY = "[[id: 'k', kind: 'secret_text', variable: 'K']]"
    static final String COMMIT = 'c' * 40

    String result = 'SUCCESS'
    List built = []

    /** The build of a branch: bound credentials are missing, the job that deploys is there. */
    void branch(String name, Map more = [:]) {
        again()
        variables = [JOB_NAME: "ml/flights/${name}".toString(), BRANCH_NAME: name] + more
        steps.replaced.withCredentials = { Call call, World here ->
            throw new hudson.AbortException("Could not find credentials entry with ID 'k'")
        }
        steps.replaced.checkout = { Call call, World here -> [GIT_COMMIT: COMMIT, GIT_BRANCH: name] }
        steps.replaced.build = { Call call, World here ->
            built << call.arguments[0]
            return [number: 4, result: result, description: 'approved by bob']
        }
    }

    /** The build of the job that deploys. */
    void deployJob(Map given, int git = 0) {
        again()
        variables = [JOB_NAME: 'ml/deploy/flights']
        parameters = given
        steps.replaced.clear()
        steps.replaced.sh = { Call call, World here ->
            return call.arguments[0].label.startsWith('mlci: go to the commit') ? git : steps.sh(call, here)
        }
    }

    @Test
    void theMainBranchHandsOverInCheck() {
        for (String arguments in ["protect: true", "credentials: [production: ${KEY}]", "credentials: [deploy: ${KEY}], approval: false"]) {
            branch('main')
            built.clear()
            run("mlPipeline(${arguments})")
            assert commands() == ['check'] && steps.of('input').isEmpty()
            assert built*.job == [JOB] && built[0].parameters == [[symbol: 'string', name: 'MLCI_COMMIT', value: COMMIT]]
            assert steps.stages() == ['Check', 'Hand over']
            assert description() == "handed over to ${JOB} #4: approved by bob"
            assert steps.seen.findAll { it.name == 'build' }.every { it.stage == 'Hand over' }
        }
    }

    @Test
    void theOtherJobsResultIsTheBuilds() {
        Map results = [FAILURE: 'FAILURE', UNSTABLE: 'UNSTABLE', ABORTED: 'ABORTED', NOT_BUILT: 'NOT_BUILT']
        results.each { there, here ->
            branch('main')
            result = there
            String refused = failure('mlPipeline(protect: true)')
            assert there == 'FAILURE' ? refused.startsWith('mlPipeline: FAILURE: handed over to') : controller.current.currentBuild.result == here
        }
    }

    @Test
    void withoutSuchAJobTheMissingCredentialIsTheError() {
        branch('main')
        steps.replaced.remove('build')
        String said = failure("mlPipeline(credentials: [production: ${KEY}])")
        assert said.startsWith("mlPipeline: Could not find credentials entry with ID 'k'; nor is there a job to hand over to")
        assert commands() == ['check']
        branch('main')
        assert failure("mlPipeline(credentials: [train: ${KEY}])").contains("'k'") && built.isEmpty()
    }

    @Test
    void otherBranchesAndPullRequestsBuildWithoutCredentialsAndHandNothingOver() {
        [['feature', [:]], ['PR-1', [CHANGE_ID: '1']]].each { name, more ->
            branch(name, more)
            run("mlPipeline(protect: true, credentials: [production: ${KEY}])")
            assert commands() == ['check', 'prepare', 'train', 'test', 'validate'] && built.isEmpty()
            assert steps.commands.every { it[-1].MLCI_STORE_READONLY == '1' && it[-1].MLCI_CACHE_DOMAIN == 'untrusted' }
        }
    }

    @Test
    void anAttackersJenkinsfileGetsNoCredential() {
        branch('evil')
        steps.replaced.remove('build')
        String own = "mlPipeline(branch: env.BRANCH_NAME, approval: false, credentials: [production: ${KEY}])"
        assert failure(own).contains("Could not find credentials entry with ID 'k'")
        branch('evil')
        assert failure("node { withCredentials([string(credentialsId: 'k', variable: 'K')]) { sh(label: 'x', script: 'env') } }").contains("'k'")
        assert steps.of('sh').isEmpty()
    }

    @Test
    void anAttackersHandOverRunsTheMainBranchOrNothing() {
        String jenkinsfile = "mlPipeline(credentials: [production: ${KEY}])"
        // build job: '/ml/deploy/flights' with the commit of a branch that was never merged
        deployJob([MLCI_COMMIT: 'e' * 40], 3)
        assert failure(jenkinsfile) == "mlPipeline: commit ${'e' * 40} is not on the branch of this job: nothing of it was run"
        assert commands() == [] && steps.of('withCredentials').isEmpty()
        for (String forged in ['evil', 'HEAD~1', '--help', "c; touch x", '$(id)', 'c' * 39, '../x', 'origin/evil']) {
            deployJob([MLCI_COMMIT: forged])
            assert failure(jenkinsfile).startsWith('mlPipeline: MLCI_COMMIT is the full id of a commit')
            assert commands() == [] && steps.of('sh').every { it.arguments[0].label == 'mlci: put mlci.pyz on the agent' }
        }
    }

    @Test
    void theJobThatDeploysAsksAPersonAndDeploys() {
        deployJob([MLCI_COMMIT: COMMIT, BRANCH: 'evil'])
        run("mlPipeline(protect: true, branch: ['main'], agents: [deploy: 'docker'], environments: ['production'], credentials: [production: ${KEY}])")
        assert commands() == ['check', 'check', 'prepare', 'train', 'test', 'validate', 'pack', 'unpack', 'deploy']
        assert steps.stages()[-2..-1] == ['Approve production', 'Deploy production']
        assert steps.commands[-1][-1].K == 'secret-k'
        assert steps.commands.every { it[-1].MLCI_CACHE_DOMAIN == null && it[-1].MLCI_STORE_READONLY == null }
        // on each agent, after each checkout
        assert steps.of('checkout').size() == 3
        assert steps.of('sh').count { it.arguments[0].label.startsWith('mlci: go to the commit') } == 3
        deployJob([MLCI_COMMIT: ''])
        run("mlPipeline(protect: true, environments: ['staging'], approval: false)")
        assert 'deploy' in commands()
    }

    @Test
    void stepsOfABranchUseACacheOfTheirOwn() {
        variables = [BRANCH_NAME: 'feature']
        run("node { mlTrain(cache: '/srv/cache'); withMlci { sh(label: 'x', script: 'mlci status') } }")
        Map first = steps.commands[0][-1]
        assert [first.MLCI_CACHE, first.MLCI_CACHE_DOMAIN] == ['/srv/cache', 'untrusted']
        again()
        variables = [BRANCH_NAME: 'release']
        run("mlPipeline(branch: 'release', environments: ['staging'], approval: false)")
        assert steps.commands.every { it[-1].MLCI_CACHE_DOMAIN == null }
    }
}
