package org.jenkinsci.plugins.workflow.steps;

/** What ends a build that somebody stopped, under the name that it has in Jenkins. */
public class FlowInterruptedException extends InterruptedException {
    private static final long serialVersionUID = 1L;

    public FlowInterruptedException(String message) {
        super(message);
    }
}
