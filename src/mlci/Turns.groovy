package mlci

import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** Whose turn it is to deploy: one build at a time in an environment, and the newest wins. */
class Turns implements Serializable {

    private static final long serialVersionUID = 1L

    final Object script
    final Map options
    final Publisher publisher
    final Watch watch

    /** Milestones of the second mlPipeline of a build come after those of the first. */
    int firstOrdinal

    Turns(Object script, Map options, Publisher publisher, Watch watch) {
        this.script = script
        this.options = options
        this.publisher = publisher
        this.watch = watch
    }

    /** Counts the pipelines of this build. */
    void begin() {
        int before = (script.env.MLCI_PIPELINES ?: '0') as int
        firstOrdinal = 1000 * before
        script.env.MLCI_PIPELINES = before + 1
    }

    /** Runs the body while no other build is in the environment `target` of this model. */
    void alone(String model, Map target, int ordinal, Closure body) {
        if (!options.lock) {
            body()
            return
        }
        String name = "mlci-${options.lock == true ? model : options.lock}-${target.name}"
        boolean locked = publisher.optional('lock', 'Lockable Resources') {
            script.lock(resource: name, inversePrecedence: true) {
                passed(ordinal)
                body()
            }
        }
        if (!locked) {
            passed(ordinal)
            body()
        }
    }

    /** Ends older builds that are not here yet, and this one when a newer one was. */
    void passed(int ordinal) {
        if (options.lock) {
            publisher.optional('milestone', 'Pipeline: Milestone Step') { milestone(firstOrdinal + ordinal) }
        }
    }

    private void milestone(int ordinal) {
        try {
            script.milestone(ordinal: ordinal)
        } catch (FlowInterruptedException overtaken) {
            watch.reason = 'superseded by a newer build'
            throw overtaken
        } catch (Exception refused) {
            if (!refused.message?.contains('inside parallel')) {
                throw refused
            }
            script.echo('mlci: in parallel branches an older build is not ended by a newer one; the lock still holds')
        }
    }

}
