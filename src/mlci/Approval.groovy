package mlci

import com.cloudbees.groovy.cps.NonCPS

/** Asks a person. Outside an agent, within a time limit, of a named audience, and for a reason where one is needed. */
class Approval implements Serializable {

    private static final long serialVersionUID = 1L

    /** What may be said about an approval, with the defaults. */
    static final Map KNOWN = [before: null, who: '', hours: 72]

    /** A reason is a sentence, not a dot. */
    private static final int SHORTEST_REASON = 10
    private static final int TRIES = 5

    final Object script
    final Map options

    Approval(Object script, Map options) {
        this.script = script
        this.options = options
    }

    /** Waits for consent. Returns [by: who, reason: why]; a rejection or the end of time ends the build as ABORTED. */
    Map ask(String question, boolean reasonNeeded) {
        return script.timeout(time: options.hours as int, unit: 'HOURS') { consent(question, reasonNeeded) }
    }

    private Map consent(String question, boolean reasonNeeded) {
        String hint = reasonNeeded ? "A reason of at least ${SHORTEST_REASON} characters is needed; it is recorded." :
            'A reason is welcome; it is not needed.'
        for (int attempt = 0; attempt < TRIES; attempt++) {
            Map said = answers(script.input(
                id: 'MlciApproval', message: question, ok: 'Approve', submitter: options.who ?: null,
                submitterParameter: 'BY',
                parameters: [script.text(name: 'REASON', defaultValue: '', description: hint)]))
            String reason = Options.oneLine(said.REASON, 1000)
            if (!reasonNeeded || reason.length() >= SHORTEST_REASON) {
                return [by: said.BY ?: 'unknown', reason: reason]
            }
            script.echo("mlci: ${hint}")
        }
        script.error("mlci: ${TRIES} approvals without a reason; nothing was deployed")
    }

    /**
     * What the step returns, as a map. An approval that gives no reason (proceedEmpty, a form without the field) leaves
     * one value, which the step returns bare: who approved; or nothing.
     */
    @NonCPS
    private static Map answers(Object returned) {
        return returned instanceof Map ? (Map) returned : [BY: returned]
    }

}
