package mlci

import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/**
 * From the build of a branch, which may hold no credentials of a deployment, to the job that alone has them.
 *
 * What is handed over is a commit, nothing that the branch's build made: the other job runs the whole pipeline of the main
 * branch again at that commit, after it found the commit on its own branch.
 */
class Handover implements Serializable {

    private static final long serialVersionUID = 1L

    private static final String SCRIPT = '''\
#!/bin/sh
if ! git merge-base --is-ancestor "$MLCI_COMMIT" HEAD; then exit 3; fi
exec git checkout --quiet --detach "$MLCI_COMMIT"
'''

    final Object script
    final Map options

    /** Whether this build ends by handing over. */
    boolean due
    String commit = ''
    String missing = ''

    Handover(Object script, Map options) {
        this.script = script
        this.options = options
    }

    /** Whether this is the job that others hand over to: it has the parameter, and no branch of its own to choose from. */
    boolean isDeployJob() {
        return !script.env.BRANCH_NAME && script.params.MLCI_COMMIT != null
    }

    /** Whether `protect:` says that this build hands over. A job of one branch is nobody's to hand over from. */
    boolean wanted() {
        if (options.protect && script.env.BRANCH_NAME) {
            due = true
        }
        return due
    }

    /** A credential was not found: that is no error where the job that deploys has it. Whether it may be so. */
    boolean after(Exception failure, boolean ofDeployment) {
        if (ofDeployment && script.env.BRANCH_NAME) {
            due = true
            missing = failure.message ?: ''
            return true
        }
        return false
    }

    /** Keeps the commit of a checkout; the job that deploys goes to the one that it was given. */
    void checkedOut(Object seen) {
        commit = commit ?: Course.commitOf(seen) ?: script.env.GIT_COMMIT ?: ''
        if (!isDeployJob() || !script.params.MLCI_COMMIT) {
            return
        }
        String given = script.params.MLCI_COMMIT as String
        if (!given.matches('[0-9a-f]{40,64}')) {
            script.error("mlPipeline: MLCI_COMMIT is the full id of a commit, not '${Options.oneLine(given, 80)}'")
        }
        int code = script.withEnv(["MLCI_COMMIT=${given}".toString()]) {
            script.sh(label: 'mlci: go to the commit, if it is on the main branch', script: SCRIPT, returnStatus: true)
        }
        if (code != 0) {
            script.error("mlPipeline: commit ${given} is not on the branch of this job: nothing of it was run")
        }
    }

    /** Runs the other job and waits. Returns [result:, text:]. */
    Map run() {
        String job = Course.deployJob(options.protect, script.env.JOB_NAME)
        Object built = null
        try {
            built = script.build(
                job: job, parameters: [script.string(name: 'MLCI_COMMIT', value: commit)], wait: true, propagate: false)
        } catch (FlowInterruptedException stopped) {
            throw stopped
        } catch (Exception none) {
            String why = missing ? "${missing}; nor is there a job to hand over to" : 'cannot hand over'
            script.error(Options.oneLine("mlPipeline: ${why}: ${none.message}; " +
                'mlci-admin apply makes that job from protect: true in jenkins.yaml', 1000))
        }
        String said = Options.oneLine(built.description, 300)
        return [result: built.result, text: "handed over to ${job} #${built.number}${said ? ': ' + said : ''}".toString()]
    }

    /** Makes the other job's result this build's. */
    void conclude(Map handed) {
        if (handed.result == 'UNSTABLE') {
            script.unstable("mlPipeline: ${handed.text}")
        } else if (handed.result in ['ABORTED', 'NOT_BUILT']) {
            script.currentBuild.result = handed.result
        } else if (handed.result != 'SUCCESS') {
            script.error("mlPipeline: ${handed.result}: ${handed.text}")
        }
    }

}
