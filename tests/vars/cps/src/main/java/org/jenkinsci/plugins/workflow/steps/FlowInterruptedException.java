package org.jenkinsci.plugins.workflow.steps;

import java.util.List;

/** What ends a build that somebody or something stopped, under the name that it has in Jenkins. */
public class FlowInterruptedException extends InterruptedException {
    private static final long serialVersionUID = 1L;

    private final boolean actualInterruption;

    /** `actual`: a person, a newer build or a block around the step stopped it; else a time limit, or a lost agent. */
    public FlowInterruptedException(boolean actual, List<String> causes) {
        super(String.join(", ", causes));
        actualInterruption = actual;
    }

    public boolean isActualInterruption() {
        return actualInterruption;
    }

    /** A folder library may not read them: the sandbox refuses, and writes a line into the log. */
    public List<Object> getCauses() {
        throw new AssertionError("the sandbox refuses FlowInterruptedException.getCauses");
    }
}
