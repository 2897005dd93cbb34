package rig

import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.CpsTransformer
import com.cloudbees.groovy.cps.Outcome
import com.cloudbees.groovy.cps.impl.CpsCallableInvocation
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.customizers.ImportCustomizer

/**
 * Runs a Pipeline as Jenkins does: the script and the library are transformed to continuation-passing style, each step suspends
 * the program, and the program is saved and loaded again before it goes on. What cannot be saved fails there, as it would
 * after a restart of the controller.
 */
class Controller {

    final File library
    Steps steps
    final GroovyShell shell
    int saves = 0
    /** The build as it was last loaded: saving and loading makes a new one each time. */
    World current

    Controller(File library, Steps steps = null) {
        this.library = library
        this.steps = steps
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.scriptBaseClass = RigScript.name
        configuration.addCompilationCustomizers(new CpsTransformer())
        ImportCustomizer imports = new ImportCustomizer()
        imports.addStarImports('com.cloudbees.groovy.cps', 'hudson.model', 'jenkins.model')
        configuration.addCompilationCustomizers(imports)
        shell = new GroovyShell(Controller.classLoader, new Binding(), configuration)
        shell.classLoader.addURL(new File(library, 'src').toURI().toURL())
        new File(library, 'src').eachFileRecurse { File file ->
            if (file.name.endsWith('.groovy')) {
                String name = new File(library, 'src').toURI().relativize(file.toURI()).path - '.groovy'
                shell.classLoader.loadClass(name.replace('/', '.'), true, false)
            }
        }
        CpsCallableInvocation.registerMismatchHandler { receiver, method, actual, called ->
            // The rig itself leads a name to a variable, a block or a step; Jenkins does so too.
            if (!(receiver instanceof RigScript || receiver instanceof World) && !(actual == null && receiver == null)) {
                throw new IllegalStateException(
                    "plain code called Pipeline code: expected ${receiver?.class?.name}.${method}, got ${called}")
            }
        }
    }

    /** A new build, with the steps of the library. */
    World begin(World world = new World()) {
        current = world
        world.blocks = load('Blocks').newInstance(world: world)
        world.declarative = load('Declarative').newInstance(world: world)
        new File(library, 'vars').listFiles().findAll { it.name.endsWith('.groovy') }.sort { it.name }.each { File file ->
            RigScript script = (RigScript) shell.parse(file.getText('UTF-8'), file.name)
            script.world = world
            world.vars[file.name - '.groovy'] = script
        }
        return world
    }

    private Class load(String name) {
        String text = Controller.getResource("/rig/${name}.groovy.txt").getText('UTF-8')
        return shell.classLoader.parseClass(text, "${name}.groovy")
    }

    /** Runs a script to its end. Returns what it returns, throws what it throws. */
    Object run(String text, World world) {
        RigScript script = (RigScript) shell.parse(text, 'WorkflowScript')
        script.world = world
        return proceed(new Continuable(script), null)
    }

    /** Goes on with a program that was saved, at the step that it was saved in. */
    Object resume(String text, File saved) {
        begin()
        shell.parse(text, 'WorkflowScript')
        Map state = (Map) loadState(saved.bytes)
        return proceed((Continuable) state.program, (Call) state.call)
    }

    private Object proceed(Continuable program, Call pending) {
        Outcome answer = new Outcome(null, null)
        Call call = pending
        while (true) {
            if (call != null) {
                Map state = (Map) loadState(save([program: program, call: call]))
                program = (Continuable) state.program
                call = (Call) state.call
                answer = perform(call, current)
            }
            Outcome out = program.run0(answer, [IteratorHack] + Continuable.categories)
            if (!program.isResumable()) {
                if (out.isFailure()) {
                    throw out.abnormal
                }
                return out.normal
            }
            if (out.isFailure()) {
                throw out.abnormal
            }
            call = (Call) out.normal
        }
    }

    private Outcome perform(Call call, World world) {
        try {
            return new Outcome(steps.run(call, world), null)
        } catch (Throwable thrown) {
            return new Outcome(null, thrown)
        }
    }

    private byte[] save(Map state) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream()
        new ObjectOutputStream(bytes).withStream { stream -> stream.writeObject(state + [world: current]) }
        saves++
        steps.saved(bytes.toByteArray())
        return bytes.toByteArray()
    }

    private Object loadState(byte[] bytes) {
        ClassLoader loader = shell.classLoader
        ObjectInputStream stream = new ObjectInputStream(new ByteArrayInputStream(bytes)) {
            protected Class resolveClass(ObjectStreamClass description) {
                try {
                    return Class.forName(description.name, false, loader)
                } catch (ClassNotFoundException unknown) {
                    return super.resolveClass(description)
                }
            }
        }
        Map state = (Map) stream.readObject()
        current = (World) state.world
        return state
    }
}
