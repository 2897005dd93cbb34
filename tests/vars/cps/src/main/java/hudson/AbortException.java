package hudson;

/** What the step error throws, under the name that it has in Jenkins. */
public class AbortException extends java.io.IOException {
    private static final long serialVersionUID = 1L;

    public AbortException(String message) {
        super(message);
    }
}
