import org.kohsuke.groovy.sandbox.GroovyInterceptor

/**
 * Refuses every call of the library that is not on a reviewed list. What a class of the library does with itself, with a script
 * and with the steps is its own affair, as it is in Jenkins.
 */
class AllowList extends GroovyInterceptor {

    final Set allowed
    /** Of all lists of this run. */
    static final Set SEEN = new TreeSet()

    AllowList(Collection allowed) {
        this.allowed = allowed as Set
    }

    private void check(String signature) {
        SEEN << signature
        if (!(signature in allowed)) {
            throw new SecurityException("not on the list of what the sandbox allows: ${signature}")
        }
    }

    private static boolean ours(Object receiver) {
        Class type = receiver instanceof Class ? receiver : receiver?.class
        return type == null || type.name.startsWith('mlci.') || LibScript.isAssignableFrom(type) || receiver instanceof Closure
    }

    @Override
    Object onMethodCall(GroovyInterceptor.Invoker invoker, Object receiver, String method, Object... arguments) {
        if (receiver instanceof Class) {
            // A closure that calls a static method of its class by its bare name gets here, and Jenkins refuses it.
            throw new SecurityException("not on the list of what the sandbox allows: ${receiver.name}.${method} called without its class")
        }
        if (!ours(receiver)) {
            check("method ${receiver.class.name} ${method}")
        }
        return super.onMethodCall(invoker, receiver, method, arguments)
    }

    @Override
    Object onStaticCall(GroovyInterceptor.Invoker invoker, Class receiver, String method, Object... arguments) {
        if (!ours(receiver)) {
            check("static ${receiver.name} ${method}")
        }
        return super.onStaticCall(invoker, receiver, method, arguments)
    }

    @Override
    Object onNewInstance(GroovyInterceptor.Invoker invoker, Class receiver, Object... arguments) {
        if (!ours(receiver)) {
            check("new ${receiver.name}")
        }
        return super.onNewInstance(invoker, receiver, arguments)
    }

    @Override
    Object onGetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property) {
        if (!ours(receiver) && !(receiver instanceof Map)) {
            check("get ${receiver.class.name} ${property}")
        }
        return super.onGetProperty(invoker, receiver, property)
    }

    @Override
    Object onSetProperty(GroovyInterceptor.Invoker invoker, Object receiver, String property, Object value) {
        if (!ours(receiver) && !(receiver instanceof Map)) {
            check("set ${receiver.class.name} ${property}")
        }
        return super.onSetProperty(invoker, receiver, property, value)
    }
}
