package mlci

import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** The whole way of a model, from checkout to its environments. What it knows is in fields: they survive a restart. */
class Delivery implements Serializable {

    private static final long serialVersionUID = 1L

    /** Arguments of mlPipeline beyond those that it hands to every stage, with their defaults. */
    static final Map OWN = [
        agent: '', agents: [:], image: '', imageArguments: '', checkout: true, environments: null, branch: '',
        approval: [:], credentials: [:], timeouts: [:], retries: [:], lock: true, mail: '', dryRun: false,
        first: false, override: 'never', onFail: '', stashLimit: 20, archiveData: false, protect: false,
    ]

    private static final List HANDED_ON = ['config', 'dir', 'set', 'python', 'cache', 'store', 'verbose']
    private static final Map MINUTES = [
        check: 60, prepare: 60, train: 240, test: 60, validate: 60, pack: 30, unpack: 30, deploy: 60]

    final Object script
    final Map options
    final Publisher publisher
    final Watch watch
    final Handover handover
    final Turns turns
    final Mailer mailer

    /** Whether the caller is on an agent already: then everything stays there. */
    boolean here
    boolean deploys
    /** The stage that did not pass, where the build goes on. */
    String failed = ''
    /** Whether another agent is only looked at, inside of a stage that is to show few steps. */
    boolean looking
    Map plan = [:]
    Map verdict = [:]
    Map decision
    String parcel

    static Delivery of(Object script, Object given) {
        Map known = [:] + OWN
        for (int i = 0; i < HANDED_ON.size(); i++) {
            known[HANDED_ON[i]] = (Options.PLACE + Options.COMMON)[HANDED_ON[i]]
        }
        String problem = Options.unnamed('mlPipeline', given) ?: Options.unknown('mlPipeline', given, known.keySet() as List) ?:
            Options.badType('mlPipeline', Course.plain(known), given)
        Map options = problem ? known : Options.merged(known, given)
        problem = problem ?: Course.wrongShape(options)
        if (problem) {
            script.error(problem)
        }
        return new Delivery(script, options, new Publisher(script))
    }

    Delivery(Object script, Map options, Publisher publisher) {
        this.script = script
        this.options = options
        this.publisher = publisher
        this.watch = new Watch(script)
        this.handover = new Handover(script, options)
        this.turns = new Turns(script, options, publisher, watch)
        this.mailer = new Mailer(script, options)
    }

    /** Runs it all; the build's result says how it went. */
    void run() {
        try {
            here = script.env.NODE_NAME != null
            turns.begin()
            watch.over { everything() }
        } catch (FlowInterruptedException stopped) {
            publisher.describe(watch.sentence(stopped))
            if (watch.alarming) {
                mailer.tell('ABORTED')
            }
            throw stopped
        } catch (Exception failed) {
            mailer.tell('FAILURE')
            throw failed
        } catch (Error broken) {
            mailer.tell('FAILURE')
            throw broken
        }
        mailer.tell(script.currentBuild.currentResult)
    }

    private void everything() {
        build()
        if (handover.due) {
            stage('Hand over') { passOn() }
        } else if (deploys && verdict) {
            release()
        } else if (!options.dryRun) {
            String why = Course.whyNot(branch(), options, plan, failed)
            script.echo("mlci: nothing was deployed: ${why}")
            publisher.describe("not deployed: ${why}")
        }
    }

    private void passOn() {
        Map handed = handover.run()
        publisher.describe(handed.text)
        handover.conclude(handed)
    }

    private void stage(String name, Closure body) {
        watch.stage = name
        script.stage(name) { body() }
    }

    // ---- build ---------------------------------------------------------------------------------------------

    private void build() {
        List groups = Course.groups(options)
        for (int i = 0; i < groups.size(); i++) {
            Map group = groups[i]
            boolean last = i == groups.size() - 1
            boolean first = i == 0
            onAgent(group.stages[0] as String) {
                if (first) {
                    stage('Check') { check() }
                } else {
                    unpack()
                }
                if (!options.dryRun && !handover.due) {
                    stages(group.stages)
                    if (!last || deploys) {
                        pack()
                    }
                }
            }
            if (options.dryRun || handover.due) {
                return
            }
        }
    }

    private void check() {
        plan = step('check').call('check').plan
        String problem = Course.wrongNames(options, plan)
        if (problem) {
            script.error(problem)
        }
        boolean may = mayDeploy()
        if (options.dryRun) {
            script.echo(Course.intentions(options, plan, may))
            return
        }
        deploys = may && !Course.chosen(plan, options.environments).isEmpty()
        List targets = deploys ? Course.chosen(plan, options.environments) : []
        if (deploys && handover.wanted()) {
            return
        }
        List bindings = Course.bindings(options, targets)
        for (int i = 0; i < bindings.size(); i++) {
            find(bindings[i], targets)
        }
        if (handover.due) {
            return
        }
        String ending = Course.endsWithBuild(targets)
        if (ending) {
            script.echo("mlci: ${ending}")
        }
        compareStores('validate', '')
        List seen = []
        for (int i = 0; i < targets.size(); i++) {
            Object own = inBucket() ? Course.credentials(options, 'deploy', targets[i].name as String) : []
            if (!(own in seen)) {
                seen << own
                compareStores('deploy', targets[i].name as String)
            }
        }
    }

    /** A credential of a deployment that is not here may be where the job that deploys is. */
    private void find(List credentials, List targets) {
        try {
            step('check').find(credentials)
        } catch (FlowInterruptedException stopped) {
            throw stopped
        } catch (Exception missing) {
            if (!handover.after(missing, Course.isOfDeployment(options, credentials, targets))) {
                throw missing
            }
        }
    }

    private boolean mayDeploy() {
        return handover.isDeployJob() || Course.mayDeploy(branch(), options.branch)
    }

    private boolean inBucket() {
        return plan.store?.kind == 'object store'
    }

    /**
     * A directory that another agent does not share would lose the champion, and so would a bucket that it does not
     * reach with the credentials it is given: better known before hours of training.
     */
    private void compareStores(String stage, String environment) {
        String mine = Course.agentOf(options, 'prepare')
        String other = Course.agentOf(options, stage)
        if (!plan.store || (other == mine && (!inBucket() || plan.store.identity))) {
            return
        }
        Map there = [:]
        Stage look = inBucket() ? step(stage, environment) : step('check')
        if (other == mine) {
            there = look.call('check').plan.store
        } else {
            looking = true
            onAgent(stage) { there = look.call('check').plan.store }
            looking = false
        }
        if (inBucket() && !there.identity) {
            String purpose = environment ? "${stage} to ${environment}" : stage
            script.error("mlci: agent '${other}', which is to ${purpose}, does not reach the store ${there.path}: " +
                Options.oneLine(there.problem, 500))
        }
        if (!inBucket() && there.identity != plan.store.identity) {
            script.error("mlci: agent '${other}', which is to ${stage}, does not see the store of agent '${mine}': " +
                "${there.path} is another folder there; mount one volume on both, or use an s3:// store")
        }
    }

    private void stages(List names) {
        for (int i = 0; i < names.size(); i++) {
            String name = names[i]
            Stage one = step(name)
            try {
                stage(name.capitalize()) { judged(name, one.run(name, name == 'validate' && options.first ? ['--first'] : [])) }
            } finally {
                publisher.check(one.answer, options.dir as String)
            }
        }
    }

    private void judged(String name, Map answer) {
        if (name == 'validate') {
            verdict = answer
            deploys = deploys && (answer.exit_code == 0 || asksAbout(answer))
        } else if (answer.exit_code != 0) {
            failed = failed ?: name.capitalize()
            deploys = false
        }
    }

    private boolean asksAbout(Map answer) {
        return options.override == 'ask' || (answer.verdict == 'inconclusive' && answer.inconclusive == 'ask')
    }

    // ---- deploy --------------------------------------------------------------------------------------------

    private void release() {
        List targets = Course.chosen(plan, options.environments)
        List asked = Course.asked(targets, options.approval)
        for (int i = 0; i < targets.size(); i++) {
            Map target = targets[i]
            int ordinal = 10 * (i + 1)
            if (target.name in asked || (verdict.exit_code != 0 && !decision)) {
                stage("Approve ${target.name}") { approve(target, ordinal) }
            }
            String title = "${Course.isFile(target) ? 'Build' : 'Deploy'} ${target.name}"
            turns.alone(plan.name as String, target, ordinal + 2) { onAgent('deploy') { stage(title) { deploy(target) } } }
        }
    }

    private void approve(Map target, int ordinal) {
        if (here) {
            script.echo('mlci: this waits on an agent; call mlPipeline outside of node {}, with agent none, to free it')
        }
        turns.passed(ordinal)
        String question = Options.oneLine("Deploy ${plan.name} to ${target.name}? ${verdict.text ?: ''}", 500)
        boolean reasonNeeded = verdict.exit_code != 0 && !decision
        watch.asking = true
        Map said = new Approval(script, [:] + Approval.KNOWN + (options.approval ?: [:])).ask(question, reasonNeeded)
        watch.asking = false
        decision = [by: said.by, reason: said.reason ?: decision?.reason]
        publisher.describe("${target.name} approved by ${said.by}${said.reason ? ': ' + said.reason : ''}")
        turns.passed(ordinal + 1)
    }

    private void deploy(Map target) {
        unpack()
        List words = ["--env=${target.name}".toString()]
        if (verdict.exit_code != 0) {
            words << "--override-gate=${decision.reason}".toString()
        }
        if (decision) {
            words << "--by=${decision.by}".toString()
        }
        step('deploy', target.name as String).run('deploy', words)
    }

    // ---- agents --------------------------------------------------------------------------------------------

    private void onAgent(String stage, Closure body) {
        String label = Course.agentOf(options, stage)
        int tries = 1 + ((options.retries.agent ?: 0) as int)
        if (here && !options.agents[stage]) {
            inImage(body)
        } else if (tries > 1) {
            script.retry(count: tries, conditions: [script.agent(), script.nonresumable()]) {
                script.node(label) { inImage(body) }
            }
        } else {
            script.node(label) { inImage(body) }
        }
    }

    private void inImage(Closure body) {
        if (!options.image) {
            prepared(body)
            return
        }
        boolean inside = false
        try {
            script.docker.image(options.image).inside("--entrypoint= ${options.imageArguments}".toString()) {
                inside = true
                prepared(body)
            }
        } catch (FlowInterruptedException stopped) {
            throw stopped
        } catch (Exception failed) {
            if (inside) {
                throw failed
            }
            script.error(Course.noImage(options.image, script.env.NODE_NAME, failed.message))
        }
    }

    private void prepared(Closure body) {
        if (options.checkout) {
            handover.checkedOut(script.checkout(script.scm))
        }
        if (!looking) {
            new Agent(script, options).prepare()
        }
        boolean reading = options.dryRun || !mayDeploy()
        script.withEnv(reading ? ['MLCI_STORE_READONLY=1'] : []) { body() }
    }

    /** Hands `.mlci` on: small as a stash, else, where that is allowed, as an artefact: it holds the data. */
    private void pack() {
        String place = temporary()
        Map packed = step('pack').call('pack', ["${place}/${packName()}".toString()])
        parcel = (packed.bytes ?: 0) <= (options.stashLimit as long) * 1024 * 1024 ? 'stash' : 'artefact'
        if (parcel == 'artefact' && !options.archiveData) {
            long megabytes = (packed.bytes as long).intdiv(1024 * 1024)
            script.error("mlPipeline: the results of ${plan.name} take ${megabytes} MB, more than stashLimit " +
                "(${options.stashLimit}); archived, the data in them could be read by everybody who sees the build. Raise " +
                'stashLimit, let all stages run on one agent, or allow it with archiveData: true')
        }
        script.dir(place) {
            if (parcel == 'stash') {
                script.stash(name: packName(), includes: packName())
            } else {
                script.archiveArtifacts(artifacts: packName(), fingerprint: true)
            }
        }
    }

    private void unpack() {
        String place = temporary()
        script.dir(place) {
            if (parcel == 'stash') {
                script.unstash(packName())
            } else {
                script.unarchive(mapping: [(packName()): packName()])
            }
        }
        step('unpack').call('unpack', ["${place}/${packName()}".toString()])
    }

    /** By the model's name: a build may have several. */
    private String packName() {
        return "mlci-${plan.name}.pack"
    }

    private String temporary() {
        return script.env.WORKSPACE_TMP ?: script.pwd(tmp: true)
    }

    // ---- the rest ------------------------------------------------------------------------------------------

    /** The step of a stage: its time limit, its tries, and the credentials that it needs, no others. */
    private Stage step(String name, String environment = '') {
        Map given = [:]
        for (int i = 0; i < HANDED_ON.size(); i++) {
            given[HANDED_ON[i]] = options[HANDED_ON[i]]
        }
        String place = environment ?: name
        given.credentials = Course.credentials(options, name, environment)
        given.timeout = options.timeouts[place] ?: options.timeouts[name] ?: MINUTES[name]
        given.retries = options.retries[place] ?: options.retries[name] ?: 0
        given.unset = Course.unset(options.credentials, given.credentials)
        given.onFail = name in Course.BUILT ? options.onFail : ''
        given.ask = deploys
        given.askAnyway = deploys && options.override == 'ask'
        given.trusted = mayDeploy() && !handover.due
        Map own = [onFail: '', ask: false, askAnyway: false, unset: [], trusted: false, checksLater: true]
        return Stage.of(script, 'mlPipeline', own, given)
    }

    private Map branch() {
        return Course.branchOf(script.env)
    }

}
