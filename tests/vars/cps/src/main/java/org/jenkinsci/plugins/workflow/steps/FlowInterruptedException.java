package org.jenkinsci.plugins.workflow.steps;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/** What ends a build that somebody or something stopped, under the name that it has in Jenkins. */
public class FlowInterruptedException extends InterruptedException {
    private static final long serialVersionUID = 1L;

    private final boolean actualInterruption;
    private final ArrayList<Map<String, String>> causes = new ArrayList<>();

    /** `actual`: a person or a newer build stopped it; else a time limit, or an agent that was lost. */
    public FlowInterruptedException(boolean actual, List<String> causes) {
        super("stopped");
        actualInterruption = actual;
        for (String cause : causes) {
            this.causes.add(new java.util.HashMap<>(Map.of("shortDescription", cause)));
        }
    }

    public boolean isActualInterruption() {
        return actualInterruption;
    }

    public List<Map<String, String>> getCauses() {
        return causes;
    }
}
