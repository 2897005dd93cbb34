package mlci

import com.cloudbees.groovy.cps.NonCPS

/** What mlPipeline decides, from its arguments, the branch and the configuration. Pure functions. */
class Course implements Serializable {

    private static final long serialVersionUID = 1L

    static final List BUILT = ['prepare', 'train', 'test', 'validate']

    static final List SERVERS = ['container', 'service']
    static final List FILES = ['package', 'app']

    /** What Jenkins says of the branch that is built. */
    static Map branchOf(Object env) {
        return [
            CHANGE_ID: env.CHANGE_ID, TAG_NAME: env.TAG_NAME, BRANCH_NAME: env.BRANCH_NAME,
            BRANCH_IS_PRIMARY: env.BRANCH_IS_PRIMARY]
    }

    /** Whether this build may deploy: of the main branch, and neither a pull request nor a tag. */
    @NonCPS
    static boolean mayDeploy(Map env, Object branch) {
        if (env.CHANGE_ID || env.TAG_NAME) {
            return false
        }
        if (branch) {
            return (env.BRANCH_NAME as String) in [branch].flatten().collect { name -> name as String }
        }
        if (env.BRANCH_IS_PRIMARY) {
            return env.BRANCH_IS_PRIMARY == 'true'
        }
        return !env.BRANCH_NAME || env.BRANCH_NAME in ['main', 'master']
    }

    /** Why a build that ends well deploys nothing. */
    @NonCPS
    static String whyNot(Map env, Map options, Map plan, String failed) {
        if (env.CHANGE_ID) {
            return 'this is a pull request'
        }
        if (env.TAG_NAME) {
            return "this is the tag ${Options.oneLine(env.TAG_NAME)}"
        }
        if (!Course.mayDeploy(env, options.branch)) {
            String deploying = options.branch ? [options.branch].flatten().join(', ') : 'the main branch'
            return "branch ${Options.oneLine(env.BRANCH_NAME)} does not deploy (branch: ${deploying})"
        }
        List all = plan.environments ?: []
        if (options.environments != null && !options.environments) {
            return 'environments: names none'
        }
        if (!all) {
            return 'deploy: of the configuration has no environment'
        }
        if (!Course.chosen(plan, options.environments)) {
            String names = all.collect { item -> item.name }.join(', ')
            return "a process environment is deployed only where environments: names it (${names})"
        }
        return failed ? "stage ${failed} did not pass" : 'the gate did not approve the model'
    }

    /** What to say of process environments whose service Jenkins ends with the build; an empty text when there are none. */
    @NonCPS
    static String endsWithBuild(List targets) {
        List names = targets.findAll { item -> item.target == 'process' && !item.keep }.collect { item -> item.name }
        return names ? "the service of ${names.join(', ')} ends with this build; to let it stay, set " +
            names.collect { name -> "deploy.${name}.keep: true" }.join(', ') : ''
    }

    /** Why nothing runs in an image, and what to do. */
    @NonCPS
    static String noImage(Object image, Object agent, Object why) {
        String text = why as String
        String todo = text?.contains('docker for class') ? 'install the plugin Docker Pipeline' :
            'the agent needs the command docker, a running engine that this user may use, and access to the image'
        return "mlPipeline: image '${Options.oneLine(image)}' cannot be used on agent '${agent}'; ${todo}" +
            (text ? ": ${Options.oneLine(text, 300)}" : '')
    }

    /** Whether these credentials are those of a deployment and of no stage before it. */
    @NonCPS
    static boolean isOfDeployment(Map options, List credentials, List targets) {
        boolean builds = BUILT.any { stage -> Course.credentials(options, stage) == credentials }
        return !builds && targets.any { item -> Course.credentials(options, 'deploy', item.name as String) == credentials }
    }

    /** The commit that the step checkout speaks of; an empty text where it says nothing. */
    @NonCPS
    static String commitOf(Object seen) {
        return (seen instanceof Map ? seen.GIT_COMMIT : null) ?: ''
    }

    /** `protect:` as a path, else the job of the same name in the folder `deploy` beside the model's. */
    @NonCPS
    static String deployJob(Object protect, Object job) {
        return protect instanceof CharSequence ? protect as String : '/' + (job as String).replaceAll('([^/]+)/[^/]+$', 'deploy/$1')
    }

    /** The environments to deploy to, in order: those named, else the servers and then what is built as files. */
    @NonCPS
    static List chosen(Map plan, Object named) {
        List all = plan.environments ?: []
        if (named != null) {
            return [named].flatten().collect { name -> all.find { item -> item.name == (name as String) } }.findAll { item -> item }
        }
        return all.findAll { item -> item.target in Course.SERVERS } + all.findAll { item -> item.target in Course.FILES }
    }

    /** Names of the environments that need an approval: those named, else the last server. */
    @NonCPS
    static List asked(List targets, Object approval) {
        if (approval == false) {
            return []
        }
        if (approval?.before != null) {
            return [approval.before].flatten().collect { name -> name as String }
        }
        List servers = targets.findAll { item -> item.target in Course.SERVERS }
        return servers ? [servers[-1].name] : []
    }

    @NonCPS
    static boolean isFile(Map target) {
        return target.target in FILES
    }

    /** Neighbouring stages that share an agent: [[agent:, stages: […]], …]. */
    @NonCPS
    static List groups(Map options) {
        List found = []
        BUILT.each { stage ->
            String agent = Course.agentOf(options, stage)
            if (found && found[-1].agent == agent) {
                found[-1].stages << stage
            } else {
                found << [agent: agent, stages: [stage]]
            }
        }
        return found
    }

    @NonCPS
    static String agentOf(Map options, String stage) {
        return (options.agents[stage] ?: options.agent) as String
    }

    /** The arguments whose values are of one type: that of the default. */
    @NonCPS
    static Map plain(Map known) {
        return known.findAll { key, value -> !(key in ['lock', 'approval', 'agents', 'credentials', 'timeouts', 'retries', 'protect']) }
    }

    /** What is wrong with the arguments, as far as that shows without the configuration; an empty text when nothing is. */
    @NonCPS
    static String wrongShape(Map options) {
        List maps = ['agents', 'credentials', 'timeouts', 'retries'].findAll { name -> !(options[name] instanceof Map) }
        if (maps) {
            return "mlPipeline: ${maps[0]} is a map, for example ${maps[0]}: [train: …]"
        }
        if (!(options.approval instanceof Map) && options.approval != false) {
            return "mlPipeline: approval is a map, for example [who: 'ml-leads', hours: 24], or false"
        }
        if (!(options.protect instanceof Boolean || options.protect instanceof CharSequence)) {
            return 'mlPipeline: protect is true or false, or the path of the job that deploys'
        }
        String problem = Setting.wrong('mlPipeline', options.set)
        problem = problem ?: Options.unknown('mlPipeline: approval', options.approval ?: [:], Approval.KNOWN.keySet())
        problem = problem ?: Options.unknown('mlPipeline: agents', options.agents, BUILT + ['deploy'])
        if (!(options.override in ['never', 'ask'])) {
            problem = problem ?: "mlPipeline: override is 'never' or 'ask'"
        }
        problem = problem ?: Options.badResult('mlPipeline', options.onFail)
        Map hours = options.approval ? options.approval.findAll { key, value -> key == 'hours' } : [:]
        Map counts = [timeouts: options.timeouts, retries: options.retries, approval: hours]
        problem = problem ?: counts.collect { key, map ->
            Options.badType("mlPipeline: ${key}", map.collectEntries { name, value -> [(name): 0] }, map)
        }.find { text -> text } ?: ''
        return problem ?: options.credentials.collect { name, list ->
            Options.badCredentials("mlPipeline: credentials.${name}", list)
        }.find { text -> text } ?: ''
    }

    /** What is wrong with names of environments in the arguments; an empty text when nothing is. */
    @NonCPS
    static String wrongNames(Map options, Map plan) {
        List all = (plan.environments ?: []).collect { item -> item.name }
        List places = BUILT + ['check', 'deploy'] + all
        Map named = [
            environments: [[options.environments ?: []].flatten(), all],
            'approval.before': [[options.approval ? options.approval.before ?: [] : []].flatten(), all],
            credentials: [options.credentials.keySet() as List, places + ['all']],
            timeouts: [options.timeouts.keySet() as List, places],
            retries: [options.retries.keySet() as List, places + ['agent']],
        ]
        return named.collect { key, pair ->
            Options.unknown("mlPipeline: ${key}", pair[0].collectEntries { name -> [(name as String): true] }, pair[1])
        }.find { text -> text } ?: ''
    }

    /**
     * Variables of credentials that other stages get. Here they hold a value that is good for nothing, so that the configuration
     * can be read; nobody can guess it, should it ever be taken for a secret. (Jenkins drops a variable that is empty.)
     */
    @NonCPS
    static List unset(Map credentials, List bound) {
        List mine = Options.variables(bound)
        String nothing = "not-bound-here-${UUID.randomUUID()}"
        return credentials.values().collectMany { list -> Options.variables(list) }.unique()
            .findAll { name -> !(name in mine) }.collect { name -> "${name}=${nothing}".toString() }
    }

    /** A dry run's answer: what would happen, where, and with which credentials. */
    @NonCPS
    static String intentions(Map options, Map plan, boolean deploys) {
        List lines = groups(options).collect { group ->
            group.stages.collect { stage -> "  ${stage} on ${group.agent ?: 'any agent'}${Course.secrets(options, stage)}" }
        }.flatten()
        List targets = deploys ? chosen(plan, options.environments) : []
        List asked = asked(targets, options.approval)
        targets.each { item ->
            if (item.name in asked) {
                lines << "  approval of ${options.approval.who ?: 'anyone who may build'} before ${item.name}"
            }
            String place = Course.agentOf(options, 'deploy') ?: 'any agent'
            lines << "  deploy to ${item.name} (${item.target}) on ${place}${Course.secrets(options, 'deploy', item.name)}"
        }
        return "mlci: dry run; this build of ${plan.name} would do\n" + lines.join('\n') +
            (targets ? '' : '\n  no deployment')
    }

    /** The credentials of a stage, or of the deployment to an environment; of two for one variable the last one counts. */
    @NonCPS
    static List credentials(Map options, String stage, String environment = '') {
        Map given = options.credentials
        return (given.all ?: []) + (given[stage] ?: []) + ((environment ? given[environment] : null) ?: [])
    }

    /** All that this build is going to bind, as lists that are bound together. */
    @NonCPS
    static List bindings(Map options, List targets) {
        List lists = BUILT.collect { stage -> Course.credentials(options, stage) }
        lists += targets.collect { item -> Course.credentials(options, 'deploy', item.name as String) }
        return lists.findAll { list -> list }.unique()
    }

    @NonCPS
    static String secrets(Map options, String stage, String environment = '') {
        List ids = credentials(options, stage, environment).collect { item -> item.id }
        return ids ? " with credentials ${ids.join(', ')}" : ''
    }

}
