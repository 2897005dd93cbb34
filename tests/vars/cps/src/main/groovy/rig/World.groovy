package rig

import com.cloudbees.groovy.cps.Continuable

/** Everything about a build that is saved with its program. */
class World implements Serializable {

    private static final long serialVersionUID = 1L

    /** Steps with a body, and how they are called; everything else is one call of the controller. */
    static final Set BLOCKS = [
        'node', 'stage', 'dir', 'withEnv', 'withCredentials', 'timeout', 'retry', 'lock', 'script', 'pipeline',
    ] as Set

    /** Words that mean something else inside of a declarative pipeline, outside of its steps. */
    static final Set DECLARATIVE = [
        'agent', 'options', 'environment', 'stages', 'stage', 'steps', 'post', 'when', 'input', 'parameters', 'label',
        'expression', 'beforeAgent', 'beforeInput', 'branch', 'buildDiscarder', 'logRotator', 'timeout', 'always', 'success',
        'unstable', 'failure', 'message', 'submitter', 'submitterParameter', 'ok',
    ] as Set

    /** Constructors of parameters and bindings, which run nothing. */
    static final Set SYMBOLS = [
        'text', 'string', 'usernamePassword', 'file', 'sshUserPrivateKey', 'agent', 'nonresumable', 'choice', 'booleanParam',
    ] as Set

    Map variables = [:]
    Map params = [:]
    List frames = []
    Map vars = [:]
    Set missing = [] as Set
    Object blocks
    Object declarative
    boolean scripted = true
    boolean assigning = false
    int calls = 0
    EnvAction env = new EnvAction(world: this)
    Build currentBuild = new Build()

    Object suspend(String name, List arguments) {
        calls++
        return Continuable.suspend(name, new Call(name: name, arguments: arguments, number: calls))
    }

    void enter(Map frame) {
        frames.add(frame)
    }

    void leave() {
        frames.remove(frames.size() - 1)
    }

    /** The innermost value of a kind: cwd, node, workspace. */
    Object inner(String kind) {
        for (int i = frames.size() - 1; i >= 0; i--) {
            if (frames[i].containsKey(kind)) {
                return frames[i][kind]
            }
        }
        return null
    }

    /** The environment of a process at this place. */
    Map environment() {
        Map all = [:] + variables
        frames.each { frame ->
            (frame.env ?: [:]).each { name, value ->
                if (name.contains('+')) {
                    String path = name.substring(0, name.indexOf('+'))
                    all[path] = "${value}:${all[path] ?: System.getenv(path) ?: ''}".toString()
                } else {
                    all[name] = value
                }
            }
        }
        return all.findAll { name, value -> value != null }
    }
}

/** `env`: what withEnv and the node say, under what the script sets. */
class EnvAction extends GroovyObjectSupport implements Serializable {

    private static final long serialVersionUID = 1L

    World world

    Object getProperty(String name) {
        return name == 'world' ? this.@world : this.@world.environment()[name]
    }

    void setProperty(String name, Object value) {
        if (name == 'world') {
            this.@world = (World) value
        } else {
            this.@world.variables[name] = value as String
        }
    }
}

/** `currentBuild`. */
class Build implements Serializable {

    private static final long serialVersionUID = 1L

    String result
    String description
    String fullDisplayName = 'flights #7'
    String absoluteUrl = 'http://jenkins.example.com/job/flights/7/'
    int number = 7
    Build previousBuild

    String getCurrentResult() {
        return result ?: 'SUCCESS'
    }
}
