package rig

import com.cloudbees.groovy.cps.SerializableScript
import org.codehaus.groovy.runtime.InvokerHelper

/** Base of every script: a name that it does not know is a step of the library, a block, or one of Jenkins. */
abstract class RigScript extends SerializableScript {

    private static final long serialVersionUID = 1L

    World world

    @Override
    Object invokeMethod(String name, Object args) {
        List given = args instanceof Object[] ? (args as List) : [args]
        World here = this.@world
        if (here.vars.containsKey(name)) {
            return InvokerHelper.invokeMethod(here.vars[name], 'call', given as Object[])
        }
        if (name in here.missing) {
            throw new NoSuchMethodError("No such DSL method '${name}' found among steps [echo, sh]")
        }
        if (!here.scripted && name in World.DECLARATIVE) {
            return InvokerHelper.invokeMethod(here.declarative, name, given as Object[])
        }
        if (name in World.BLOCKS) {
            return InvokerHelper.invokeMethod(here.blocks, name, given as Object[])
        }
        if (name in World.SYMBOLS) {
            return [symbol: name] + (given ? given[0] as Map : [:])
        }
        return here.suspend(name, given)
    }

    @Override
    Object getProperty(String name) {
        World here = this.@world
        switch (name) {
            case 'env': return here.env
            case 'currentBuild': return here.currentBuild
            case 'scm': return [symbol: 'scm']
            case 'params': return here.params
            case 'docker': return here.blocks.docker()
            case 'none': case 'any': return name
        }
        try {
            return super.getProperty(name)
        } catch (MissingPropertyException missing) {
            String value = here.environment()[name]
            if (value == null) {
                throw missing
            }
            return value
        }
    }

    @Override
    void setProperty(String name, Object value) {
        World here = this.@world
        if (name == 'world') {
            this.@world = (World) value
        } else if (here?.assigning) {
            here.frames[-1].env[name] = value as String
        } else {
            super.setProperty(name, value)
        }
    }
}
