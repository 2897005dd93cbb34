package rig

/** A step that a Pipeline asked for: its name and arguments, as they are saved while it runs. */
class Call implements Serializable {

    private static final long serialVersionUID = 1L

    String name
    List arguments
    /** Number of the step in the build: the same before and after a restart. */
    int number

    /** The arguments by name; one that is not a map has the name that the step documents. */
    Map named(String single) {
        Object first = arguments ? arguments[0] : [:]
        return first instanceof Map ? (Map) first : [(single): first]
    }

    String toString() {
        return "${name}${arguments}"
    }
}
