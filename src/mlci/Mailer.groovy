package mlci

import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** Mail to those who want to hear of a build. */
class Mailer implements Serializable {

    private static final long serialVersionUID = 1L

    final Object script
    final Map options

    Mailer(Object script, Map options) {
        this.script = script
        this.options = options
    }

    /** Mail when the result is not that of the last build that had one. */
    void tell(String result) {
        if (!options.mail || options.dryRun) {
            return
        }
        String before = 'SUCCESS'
        Object build = script.currentBuild.previousBuild
        while (build != null) {
            if (build.result in ['SUCCESS', 'UNSTABLE', 'FAILURE']) {
                before = build.result
                break
            }
            build = build.previousBuild
        }
        if (before == result) {
            return
        }
        String text = "${script.currentBuild.fullDisplayName}: ${before} → ${result}\n\n" +
            "${script.currentBuild.description ?: ''}\n${script.env.BUILD_URL ?: ''}\n"
        try {
            script.mail(to: options.mail, subject: "${result}: ${script.currentBuild.fullDisplayName}", body: text)
        } catch (FlowInterruptedException stopped) {
            throw stopped
        } catch (Exception unsent) {
            script.echo("mlci: the mail to ${options.mail} was not sent: ${unsent.message}")
        }
    }

}
