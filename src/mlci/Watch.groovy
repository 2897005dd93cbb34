package mlci

import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** What stopped a build before its end: a time limit, a lost agent, a person, or a newer build. */
class Watch implements Serializable {

    private static final long serialVersionUID = 1L

    /** What Jenkins says, in every language, of a time limit that passed. */
    private static final String TIME_LIMIT = 'Timeout has been exceeded'

    final Object script

    /** The stage that runs, and whether a person is being asked there. */
    String stage = 'Check'
    boolean asking
    /** Why, where the library knows it better than Jenkins tells. */
    String reason = ''
    /** Whether Jenkins itself stopped the build: a time limit, or an agent that was lost. */
    boolean hung

    private int tries

    Watch(Object script) {
        this.script = script
    }

    /**
     * Runs the body. The step `retry` begins again after what Jenkins stopped itself, never after what a person or a newer
     * build stopped: the second try does nothing but notice that. A time limit around mlPipeline shows in its message alone.
     */
    void over(Closure body) {
        Throwable failure = null
        Throwable stopped = null
        script.retry(2) {
            tries++
            if (tries > 1) {
                hung = true
                throw stopped
            }
            try {
                body()
            } catch (FlowInterruptedException interruption) {
                stopped = interruption
                hung = (interruption.message ?: '').contains(TIME_LIMIT)
                throw interruption
            } catch (Exception failed) {
                failure = failed
            } catch (Error broken) {
                failure = broken
            }
        }
        if (failure != null) {
            throw failure
        }
    }

    /** Whether somebody has to look: nobody chose to end the build, and nobody was being asked. */
    boolean isAlarming() {
        return hung && !asking
    }

    /** One sentence for the build description. The sandbox refuses the causes; the message names them in newer Jenkins. */
    String sentence(FlowInterruptedException stopped) {
        String cause = Options.oneLine(stopped.message, 300)
        if (asking && hung) {
            return "not deployed: nobody answered in stage ${stage} in time"
        }
        if (reason || cause) {
            return "stopped in stage ${stage}: ${reason ?: cause}"
        }
        return hung ? "stopped in stage ${stage}: its time limit was exceeded, or its agent was lost" :
            "stopped in stage ${stage} by a person or a newer build"
    }

}
