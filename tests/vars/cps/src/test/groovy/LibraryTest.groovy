import org.junit.Test
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import rig.Call
import rig.FakeSteps
import rig.World

/** What the steps do, on the engine that Jenkins runs: saved and loaded again at every step. */
class LibraryTest extends RigTest {

    // ---- single steps

    @Test
    void aStepIsOneCommand() {
        run('''node { mlPrepare(config: 'a b.yaml', dir: 'models/x', set: ['data.source': "a'b; rm -rf /", 'model.seed': 7], verbose: true) }''')
        assert words(0) == ['prepare', '--config=a b.yaml', '-C', 'models/x', "--set=data.source=a'b; rm -rf /", '--set=model.seed=7', '--verbose']
    }

    @Test
    void argumentsOfTheirOwn() {
        run('''node {
            mlTrain(verifyReproducible: true)
            mlValidate(first: true)
            mlDeploy(env: 'production', override: 'it is better', by: 'alice')
            mlRollback(env: 'production', to: 'abc', by: '--env=other')
        }''')
        assert words(0) == ['train', '--verify-reproducible', '--config=ml.yaml']
        assert words(1) == ['validate', '--first', '--config=ml.yaml']
        assert words(2) == ['deploy', '--env=production', '--override-gate=it is better', '--by=alice', '--config=ml.yaml']
        assert words(3) == ['rollback', '--env=production', '--to=abc', '--by=--env=other', '--config=ml.yaml']
    }

    @Test
    void noValueMeetsAShell() {
        run('''node { mlDeploy(env: '$(id)', by: '`id`', python: 'py"thon', cache: '/c $x', credentials: [[id: 'k', kind: 'secret_text', variable: 'K']]) }''')
        List scripts = steps.of('sh').collect { it.arguments[0].script }
        assert scripts.unique().size() == 1
        assert !scripts[0].contains('id)') && !scripts[0].contains('py"thon')
        Map environment = steps.commands[0][-1]
        assert environment.MLCI_PYTHON == 'py"thon'
        assert environment.MLCI_CACHE == '/c $x'
        assert environment.K == 'secret-k'
    }

    @Test
    void everyShHasALabel() {
        run('''node { mlTrain(); withMlci { sh(label: 'x', script: 'mlci status') } }''')
        assert steps.of('sh').every { it.arguments[0].label }
    }

    @Test
    void longArgumentsTravelInAFile() {
        String long_ = 'é' * 20000
        run("node { mlTrain(set: ['data.source': '${long_}']) }")
        assert words(0).contains("--set=data.source=${long_}".toString())
        assert !steps.commands[0][-1].MLCI_CALL.startsWith('{')
        again()
        run('node { mlTrain(set: [a: \'$HOME ${PATH} $$ \\u0041\']) }')
        assert words(0).contains('--set=a=$HOME ${PATH} $$ A')
        assert !steps.commands[0][-1].MLCI_CALL.contains('$')
    }

    @Test
    void mapsAndListsOfSetAreJson() {
        run("""node { mlTrain(set: ['model.params': [max_depth: 3, names: ['a', "b\${1}"], deep: [x: null, y: true, 'k"q': 'z: #']],
            'validate.slices': ['a', 2, false], 'a': [:], 'b': [], 'card.owner': ['Zoë 😀', 'tab\there'], 'c': 'plain', 'd': 7]) }""")
        assert words(0)[2..-1] == [
            '--set=model.params={"max_depth": 3, "names": ["a", "b1"], "deep": {"x": null, "y": true, "k\\"q": "z: #"}}',
            '--set=validate.slices=["a", 2, false]', '--set=a={}', '--set=b=[]', '--set=card.owner=["Zoë 😀", "tab\\there"]',
            '--set=c=plain', '--set=d=7']
        assert failure('node { mlTrain(set: [a: [new Date(0)]]) }').startsWith("mlTrain: set: a holds 'Thu Jan 01")
        assert failure("mlPipeline(set: [a: [b: { 1 }]])").contains('which is no text, number, boolean, list or map')
    }

    @Test
    void theArchiveIsWrittenOnceForAnAgent() {
        run('node { mlPrepare(); mlTrain() }')
        assert steps.of('writeFile').count { it.arguments[0].encoding == 'Base64' } == 1
    }

    @Test
    void aDamagedArchiveIsWrittenAgain() {
        int tries = 0
        steps.answer = { List words ->
            tries++
            if (tries == 1) {
                steps.files.keySet().removeAll { it.endsWith('.pyz') }
                return [exit_code: 75]
            }
            return [exit_code: 0]
        }
        run('node { mlPrepare() }')
        assert tries == 2
        assert steps.of('writeFile').count { it.arguments[0].encoding == 'Base64' } == 2
    }

    @Test
    void unknownArgumentsAreRefusedWithTheNearest() {
        assert failure("node { mlTrain(verifyReproducable: true) }") == "mlTrain: there is no 'verifyReproducable'; did you mean 'verifyReproducible'?"
        assert failure("mlPipeline(enviroments: [])").contains("did you mean 'environments'?")
        assert failure("mlPipeline(approval: [hour: 3])").contains("did you mean 'hours'?")
        assert failure("mlPipeline(agents: [trian: 'x'])").contains("did you mean 'train'?")
        assert failure("mlTest(onFail: 'red')") == "mlTest: onFail is 'fail' or 'unstable', not 'red'"
        assert failure("mlTest(credentials: [[id: 'x', kind: 'secret_txt']])").contains("there is no kind 'secret_txt'")
        assert failure("mlTest(credentials: [[id: 'x', kind: 'secret_text']])").contains("needs 'variable'")
        assert steps.commands.isEmpty()
    }

    @Test
    void helpNamesExactlyTheArgumentsThatAreAccepted() {
        ['mlPrepare', 'mlTrain', 'mlTest', 'mlValidate', 'mlDeploy', 'mlRollback', 'mlPipeline'].each { step ->
            String said = failure("${step}(zzzzzzzzzzzzzzzzzz: 1)")
            assert said.split('it takes: ')[1].split(', ') as Set == documented(step), step
        }
        String said = failure('withMlci(zzzzzzzzzzzzzzzzzz: 1) { }')
        assert said.split('it takes: ')[1].split(', ') as Set == documented('withMlci')
    }

    static Set documented(String step) {
        List lines = new File(ROOT, "vars/${step}.txt").readLines('UTF-8')
        return lines.collect { (it =~ /^  (\w+) +(?:text|map|list|number|boolean) +\S/) }.findAll { it }.collect { it[0][1] } as Set
    }

    @Test
    void exitCodesBecomeResults() {
        [(2): 'CFG_KEY', (3): 'DAT_TYPE', (5): 'DEP_DISK', (1): 'none', (130): 'none'].each { code, name ->
            steps.answer = { List words -> [exit_code: code, error: [code: name, what: 'it broke', todo: 'mend it']] }
            String said = failure('node { mlTrain() }')
            assert said == "mlci train: exit ${code} ${name}: it broke; mend it"
        }
        assert controller.current.currentBuild.result == null
    }

    @Test
    void aRefusalFailsTheBuildOrMakesItUnstable() {
        steps.answer = { List words -> [exit_code: 4, text: 'not approved', verdict: 'failed', on_fail: 'fail', inconclusive: 'ask', junit: true, folder: '.mlci/validate'] }
        assert failure('node { mlValidate() }').contains('exit 4')
        assert failure("node { mlValidate(onFail: 'unstable') }") == null
        assert controller.current.currentBuild.result == 'UNSTABLE'
        assert steps.of('junit').size() == 2
    }

    @Test
    void aGateThatCannotTellIsUnstableUnlessAPersonIsAskedNext() {
        steps.answer = { List words -> [exit_code: 4, text: 'cannot tell', verdict: 'inconclusive', on_fail: 'fail', inconclusive: 'ask'] }
        assert run('node { mlValidate(ask: true).verdict }') == 'inconclusive'
        assert controller.current.currentBuild.result == null
        run('node { mlValidate() }')
        assert controller.current.currentBuild.result == 'UNSTABLE'
    }

    @Test
    void whatIsOutsideIsTriedAgain() {
        int tries = 0
        steps.answer = { List words -> [exit_code: ++tries < 3 ? 5 : 0] }
        run('node { mlDeploy(retries: 2) }')
        assert tries == 3
        assert steps.of('sleep').size() == 2
        tries = -10
        assert failure('node { mlDeploy() }').contains('exit 5')
    }

    @Test
    void missingPluginsAreNamedOnce() {
        missing << 'publishHTML'
        steps.answer = { List words -> [exit_code: 0, report: true, folder: '.mlci/validate', text: 'x'] }
        run('node { mlValidate(); mlValidate() }')
        assert steps.of('echo').collect { it.arguments[0] } == ['mlci: the plugin HTML Publisher is not installed; going on without its step publishHTML']
    }

    @Test
    void anErrorInsideOfAnOptionalBlockIsNotTakenForAMissingPlugin() {
        steps.replaced.checkout = { Call call, World here -> throw new NoSuchMethodError("No such DSL method 'other' found") }
        try {
            run('mlPipeline(first: true)')
            assert false
        } catch (NoSuchMethodError wrong) {
            assert wrong.message.contains('other')
        }
    }

    @Test
    void theDescriptionHoldsNoMarkup() {
        steps.answer = { List words -> [exit_code: 0, text: 'good <script>alert(1)</script>\nnext', folder: '.mlci/validate'] }
        run('node { mlValidate() }')
        assert controller.current.currentBuild.description == 'good script alert(1) /script next'
    }

    @Test
    void callsDoNotShareFiles() {
        run('''node { mlTrain(dir: 'a'); mlTrain(dir: 'b'); withMlci { mlTrain(dir: 'c') }; withMlci { } }''')
        assert steps.of('writeFile').every { it.arguments[0].file.startsWith('/ws@tmp/mlci-part-') }
        List scripts = steps.of('sh').collect { it.arguments[0].script }
        assert scripts.every { it.contains('mktemp -d "$place/mlci-call-XXXXXX"') }
    }

    @Test
    void aStepOutsideOfAnAgentSaysSo() {
        assert failure('mlTrain()') == 'mlTrain: this runs on an agent; call it inside of node { } or of a stage that has one'
        assert failure('withMlci { }').contains('this runs on an agent')
    }

    @Test
    void textsOfParametersAreTakenForWhatTheyMean() {
        run('''node { mlValidate(first: 'false'); mlValidate(first: "${'true'}"); mlTrain(timeout: '5', verbose: null) }''')
        assert words(0) == ['validate', '--config=ml.yaml']
        assert words(1) == ['validate', '--first', '--config=ml.yaml']
        assert steps.of('timeout')[0].arguments[0].time == 5
        steps.commands.clear()
        run("mlPipeline(dryRun: 'false', lock: 'false', first: 'false', environments: ['staging'], approval: false, stashLimit: '0', archiveData: 'true', timeouts: [train: '9'])")
        assert 'deploy' in commands() && steps.of('milestone').isEmpty() && !words(4).contains('--first')
        assert steps.of('unarchive').size() == 1
    }

    @Test
    void valuesOfAnotherTypeAreRefused() {
        Map refused = [
            "mlTrain(timeout: 'ten')": "mlTrain: timeout is a whole number, not 'ten'",
            "mlTrain(timeout: -1)": "mlTrain: timeout is a whole number, not '-1'",
            "mlTrain(set: 'a=b')": 'mlTrain: set is a map',
            "mlValidate(first: 'no')": "mlValidate: first is true or false, not 'no'",
            "mlDeploy('production')": 'mlDeploy: arguments have names',
            "mlPipeline('production')": 'mlPipeline: arguments have names',
            "mlPipeline(stashLimit: 'x')": 'mlPipeline: stashLimit is a whole number',
            "mlPipeline(dryRun: 1)": 'mlPipeline: dryRun is true or false',
            "mlPipeline(set: ['a'])": 'mlPipeline: set is a map',
            "mlPipeline(timeouts: [train: '1h'])": "mlPipeline: timeouts: train is a whole number, not '1h'",
            "mlPipeline(retries: [agent: true])": 'mlPipeline: retries: agent is a whole number',
            "mlPipeline(approval: [hours: 'x'])": 'mlPipeline: approval: hours is a whole number',
        ]
        refused.each { call, what -> assert failure("node { ${call} }")?.startsWith(what), call }
        assert commands() == []
    }

    @Test
    void windowsIsRefused() {
        steps.replaced.node = { Call call, World here -> [workspace: 'C:\\ws', env: [NODE_NAME: 'x', WORKSPACE_TMP: 'C:\\ws@tmp']] }
        assert failure('node { mlTrain() }').contains('Windows')
    }

    @Test
    void withMlciPutsTheCommandInThePath() {
        run('''node { withMlci { sh(label: 'x', script: 'mlci status') } }''')
        Map put = steps.of('sh')[0].arguments[0]
        assert put.label == 'mlci: put the command in the path' && put.script.contains('cat > "$folder/mlci"')
    }

    // ---- the pipeline

    @Test
    void theMainBranchIsDeployedWithAnApprovalBeforeTheLastServer() {
        run('mlPipeline()')
        assert steps.stages() == ['Check', 'Prepare', 'Train', 'Test', 'Validate', 'Deploy staging', 'Approve production', 'Deploy production', 'Build product']
        List deployed = steps.commands.findAll { it[0] == 'deploy' }.collect { it[1] }
        assert deployed == ['--env=staging', '--env=production', '--env=product']
        assert steps.of('lock').collect { it.arguments[0].resource } == ['mlci-flights-staging', 'mlci-flights-production', 'mlci-flights-product']
        List ordinals = steps.of('milestone').collect { it.arguments[0].ordinal }
        assert ordinals == ordinals.sort(false)
        Call input = steps.of('input')[0]
        assert input.arguments[0].submitterParameter == 'BY'
    }

    @Test
    void nothingWaitsOnAnAgent() {
        boolean waitedOnAgent = false
        steps.replaced.input = { Call call, World here ->
            waitedOnAgent = here.inner('node') != null
            return [BY: 'alice', REASON: '']
        }
        run("mlPipeline(approval: [who: 'ml-leads', hours: 2])")
        assert !waitedOnAgent
        assert steps.of('input')[0].arguments[0].submitter == 'ml-leads'
        assert steps.of('timeout').any { it.arguments[0] == [time: 2, unit: 'HOURS'] }
        assert steps.commands.findAll { it[0] == 'deploy' }[1].contains('--by=alice')
    }

    @Test
    void pullRequestsAndOtherBranchesDeployNothing() {
        [[CHANGE_ID: '7', BRANCH_NAME: 'PR-7'], [BRANCH_NAME: 'feature', BRANCH_IS_PRIMARY: 'false'], [BRANCH_NAME: 'v1', TAG_NAME: 'v1'], [BRANCH_NAME: 'other']].each { Map found ->
            steps.commands.clear()
            variables = found
            run("mlPipeline(credentials: [production: [[id: 'k', kind: 'secret_text', variable: 'K']]])")
            assert commands() == ['check', 'prepare', 'train', 'test', 'validate']
            assert steps.commands.every { it[-1].MLCI_STORE_READONLY == '1' && it[-1].K.startsWith('not-bound-here-') }
            assert steps.of('input').isEmpty() && steps.of('stash').isEmpty() && steps.of('withCredentials').isEmpty()
        }
    }

    @Test
    void theMainBranchIsKnown() {
        [[:], [BRANCH_NAME: 'main'], [BRANCH_NAME: 'trunk', BRANCH_IS_PRIMARY: 'true']].each { Map found ->
            steps.commands.clear()
            variables = found
            run('mlPipeline()')
            assert 'deploy' in commands()
        }
        steps.commands.clear()
        variables = [BRANCH_NAME: 'release']
        run("mlPipeline(branch: ['release', 'hotfix'])")
        assert 'deploy' in commands()
    }

    @Test
    void credentialsAreBoundWhereTheyAreNeeded() {
        run("""mlPipeline(credentials: [
            prepare: [[id: 'db', kind: 'username_password', user: 'DB_USER', password: 'DB_PASSWORD']],
            production: [[id: 'api', kind: 'secret_text', variable: 'API_KEY']],
        ])""")
        Map seen = steps.commands.collectEntries { [(it[0] + (it[0] == 'deploy' ? it[1] : '')): it[-1]] }
        Closure nothing = { value -> value.startsWith('not-bound-here-') }
        assert seen.prepare.DB_PASSWORD == 'secret-db' && nothing(seen.prepare.API_KEY)
        assert nothing(seen.train.DB_PASSWORD) && nothing(seen.train.API_KEY)
        assert seen['deploy--env=production'].API_KEY == 'secret-api' && nothing(seen['deploy--env=production'].DB_PASSWORD)
        assert nothing(seen['deploy--env=staging'].API_KEY)
    }

    @Test
    void credentialsOfDeployAreThoseOfEveryEnvironmentAndItsOwnCountMore() {
        run("""mlPipeline(approval: false, credentials: [
            deploy: [[id: 'registry', kind: 'secret_text', variable: 'TOKEN'], [id: 'any', kind: 'secret_text', variable: 'API_KEY']],
            production: [[id: 'own', kind: 'secret_text', variable: 'API_KEY']],
        ])""")
        Map seen = steps.commands.findAll { it[0] == 'deploy' }.collectEntries { [(it[1]): it[-1]] }
        assert seen['--env=staging'].subMap('TOKEN', 'API_KEY') == [TOKEN: 'secret-registry', API_KEY: 'secret-any']
        assert seen['--env=production'].subMap('TOKEN', 'API_KEY') == [TOKEN: 'secret-registry', API_KEY: 'secret-own']
    }

    @Test
    void aCredentialThatIsMissingEndsTheBuildBeforeTraining() {
        Closure bound = { Call call, World here ->
            if (call.arguments[0].any { it.credentialsId == 'mistyped' }) {
                throw new hudson.AbortException("Could not find credentials entry with ID 'mistyped'")
            }
            return [:]
        }
        steps.replaced.withCredentials = bound
        String missing = "[[id: 'mistyped', kind: 'secret_text', variable: 'K']]"
        for (String place in ['train', 'deploy', 'production', 'all']) {
            steps.commands.clear()
            assert failure("mlPipeline(credentials: [${place}: ${missing}])").contains("'mistyped'")
            assert !('prepare' in commands())
        }
        steps.commands.clear()
        run("mlPipeline(environments: ['staging'], approval: false, credentials: [production: ${missing}])")
        assert 'deploy' in commands()
        steps.commands.clear()
        variables = [BRANCH_NAME: 'PR-1', CHANGE_ID: '1']
        run("mlPipeline(credentials: [production: ${missing}])")
        assert commands()[-1] == 'validate'
    }

    @Test
    void aGateThatCannotTellAsksAPersonForAReason() {
        gate = [exit_code: 4, verdict: 'inconclusive', inconclusive: 'ask', on_fail: 'fail', text: 'cannot tell']
        List reasons = ['short', '', 'the drop is within what we accept']
        int asked = 0
        steps.replaced.input = { Call call, World here -> [BY: 'bob', REASON: reasons[asked++] ?: ''] }
        run("mlPipeline(environments: ['staging'])")
        assert asked == 3
        List deploy = steps.commands.find { it[0] == 'deploy' }
        assert deploy.containsAll(['--env=staging', '--override-gate=the drop is within what we accept', '--by=bob'])
        assert controller.current.currentBuild.currentResult == 'SUCCESS'
    }

    @Test
    void anApprovalByRestGivesTheApproverAloneOrNothing() {
        [null, 'alice', [BY: 'alice'], [BY: 'alice', REASON: null]].each { given ->
            start()
            steps.calls.clear()
            steps.commands.clear()
            steps.replaced.input = { Call call, World here -> given }
            run("mlPipeline(environments: ['staging'], approval: [before: ['staging']])")
            assert steps.of('input').size() == 1 && 'deploy' in commands()
            // Where a reason is needed, an answer without one is asked for again, and refused in the end.
            gate = [exit_code: 4, verdict: 'inconclusive', inconclusive: 'ask', on_fail: 'fail', text: 'cannot tell']
            steps.calls.clear()
            steps.commands.clear()
            assert failure("mlPipeline(environments: ['staging'])").contains('approvals without a reason')
            assert !('deploy' in commands())
            gate = [exit_code: 0, text: 'approved: roc_auc is 0.93']
        }
    }

    @Test
    void aRefusedModelIsNotDeployed() {
        gate = [exit_code: 4, verdict: 'failed', inconclusive: 'ask', on_fail: 'unstable', text: 'not approved']
        run('mlPipeline()')
        assert !('deploy' in commands())
        assert controller.current.currentBuild.result == 'UNSTABLE'
    }

    @Test
    void aPersonMayOverrideOnlyWhereThatIsAllowed() {
        gate = [exit_code: 4, verdict: 'failed', inconclusive: 'ask', on_fail: 'fail', text: 'not approved']
        assert failure("mlPipeline(environments: ['staging'])").contains('not approved')
        run("mlPipeline(environments: ['staging'], override: 'ask')")
        assert steps.commands.find { it[0] == 'deploy' }.any { it instanceof String && it.startsWith('--override-gate=because') }
    }

    @Test
    void failedTestsKeepAModelFromBeingDeployed() {
        Closure before = steps.answer
        steps.answer = { List words -> words[0] == 'test' ? [exit_code: 4, text: '1 of 3 failed', on_fail: 'unstable'] : before(words) }
        run('mlPipeline()')
        assert commands() == ['check', 'prepare', 'train', 'test', 'validate']
    }

    @Test
    void stagesMayRunOnDifferentAgents() {
        plan.store = [kind: 'directory', path: '/srv/store', identity: '5:1']
        run("mlPipeline(agent: 'small', agents: [train: 'gpu', deploy: 'docker'], environments: ['staging'], approval: false)")
        assert steps.of('node').collect { it.arguments[0] } == ['small', 'docker', 'gpu', 'small', 'docker']
        assert commands() == ['check', 'check', 'prepare', 'pack', 'unpack', 'train', 'pack', 'unpack', 'test', 'validate', 'pack', 'unpack', 'deploy']
    }

    @Test
    void aStoreThatTheDeployingAgentDoesNotSeeIsRefusedBeforeTraining() {
        int looked = 0
        steps.answer = { List words -> [exit_code: 0, plan: plan + [store: [kind: 'directory', path: '/srv/store', identity: "${looked++}:1".toString()]]] }
        String said = failure("mlPipeline(agent: 'small', agents: [deploy: 'docker'], environments: ['staging'])")
        assert said.contains("agent 'docker'") && said.contains('/srv/store')
        assert commands() == ['check', 'check']
    }

    @Test
    void aBucketThatTheDeployingAgentDoesNotReachIsRefusedBeforeTraining() {
        Closure before = steps.answer
        steps.answer = { List words -> words[0] == 'check' ? [exit_code: 0, plan: plan + [store: plan.store + [identity: null, problem: 'no\ncredentials']]] : before(words) }
        String said = failure("mlPipeline(environments: ['staging'], credentials: [staging: [[id: 'k', kind: 'secret_text', variable: 'K']]])")
        assert said.endsWith('does not reach the store s3://models/x: no credentials')
        assert commands() == ['check', 'check']
    }

    @Test
    void aBucketIsLookedForWithTheCredentialsOfWhoNeedsIt() {
        Closure before = steps.answer
        steps.answer = { List words ->
            boolean bound = steps.commands[-1][-1].K == 'secret-k'
            words[0] == 'check' && !bound ? [exit_code: 0, plan: plan + [store: plan.store + [identity: null, problem: 'no credentials']]] : before(words)
        }
        String credentials = "[[id: 'k', kind: 'secret_text', variable: 'K']]"
        run("mlPipeline(environments: ['staging', 'product'], approval: false, credentials: [validate: ${credentials}, staging: ${credentials}, product: ${credentials}])")
        assert commands() == ['check', 'check', 'check', 'prepare', 'train', 'test', 'validate', 'pack', 'unpack', 'deploy', 'unpack', 'deploy']
        steps.commands.clear()
        run("mlPipeline(agents: [deploy: 'docker'], environments: ['staging'], approval: false, credentials: [all: ${credentials}])")
        assert commands()[0..1] == ['check', 'check'] && commands()[2] == 'prepare'
    }

    @Test
    void largeResultsTravelAsArtefacts() {
        run("mlPipeline(environments: ['staging'], approval: false, stashLimit: 0, archiveData: true)")
        assert steps.of('stash').isEmpty() && steps.of('unarchive').size() == 1
        assert steps.of('archiveArtifacts').any { it.arguments[0].artifacts == 'mlci-flights.pack' && it.arguments[0].fingerprint }
    }

    @Test
    void dataAreNeverArchivedUnlessAllowed() {
        String said = failure("mlPipeline(environments: ['staging'], approval: false, stashLimit: 0)")
        assert said.contains('more than stashLimit (0)') && said.contains('archiveData: true')
        assert !steps.of('archiveArtifacts').any { "${it.arguments[0].artifacts}".contains('.pack') }
        assert !('deploy' in commands())
    }

    @Test
    void aDryRunDoesNothing() {
        run("mlPipeline(dryRun: true, approval: [who: 'ml-leads'], credentials: [production: [[id: 'k', kind: 'secret_text', variable: 'K']]])")
        assert commands() == ['check']
        String said = steps.of('echo')[-1].arguments[0]
        assert said.contains('approval of ml-leads before production') && said.contains('deploy to production (service)') && said.contains('credentials k')
    }

    @Test
    void unknownEnvironmentsAreRefusedBeforeTraining() {
        assert failure("mlPipeline(environments: ['prodction'])").contains("did you mean 'production'?")
        assert failure("mlPipeline(credentials: [prodction: []])").contains("did you mean 'production'?")
        assert commands().unique() == ['check']
    }

    @Test
    void mailIsSentWhenTheResultChanges() {
        run("mlPipeline(mail: 'team@example.com')")
        assert steps.of('mail').isEmpty()
        gate = [exit_code: 4, verdict: 'failed', on_fail: 'fail', text: 'not approved']
        failure("mlPipeline(mail: 'team@example.com')")
        assert steps.of('mail').size() == 1
        assert steps.of('mail')[0].arguments[0].subject == 'FAILURE: flights #7'
    }

    @Test
    void aMailThatCannotBeSentChangesNoResult() {
        steps.replaced.mail = { Call call, World here -> throw new IOException('no server') }
        previous = new rig.Build(result: 'FAILURE')
        run("mlPipeline(mail: 'team@example.com')")
        assert steps.of('echo').any { it.arguments[0].contains('was not sent: no server') }
    }

    @Test
    void anAbortIsNeitherSwallowedNorMailed() {
        for (Throwable end in [FakeSteps.interrupted(), FakeSteps.aborted('Rejected by bob')]) {
            steps.replaced.input = { Call call, World here -> throw end }
            assert thrown("mlPipeline(mail: 'team@example.com')") instanceof FlowInterruptedException
            assert steps.of('mail').isEmpty()
        }
    }

    @Test
    void withoutLockablePluginItGoesOn() {
        missing.addAll(['lock', 'milestone'])
        run("mlPipeline(environments: ['staging'])")
        assert 'deploy' in commands()
        assert said().count { it.startsWith('mlci: the plugin') } == 2
    }

    @Test
    void itMayBeCalledOnAnAgent() {
        run("node('x') { mlPipeline(environments: ['staging'], approval: false) }")
        assert steps.of('node').size() == 1
        assert 'deploy' in commands()
    }

    @Test
    void anImageIsUsedOnTheAgent() {
        run("mlPipeline(image: 'registry/full:1', imageArguments: '-v /var/run/docker.sock:/var/run/docker.sock', environments: [])")
        assert steps.of('docker')[0].arguments[0].image == 'registry/full:1'
    }

    @Test
    void theProgramWasSavedAtEveryStep() {
        run('mlPipeline()')
        assert controller.saves == steps.calls.size() && controller.saves > 60
    }

    @Test
    void theExampleRuns() {
        steps.replaced.input = { Call call, World here -> 'alice' }
        run(new File(ROOT, 'Jenkinsfile.example').getText('UTF-8').replaceAll(/(?m)^@Library.*$/, ''))
        assert commands() == ['prepare', 'train', 'test', 'validate', 'deploy']
        assert steps.stages()[-2..-1] == ['Approve', 'Deploy']
    }
}
