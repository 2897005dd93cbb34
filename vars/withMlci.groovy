import mlci.Stage

/** Runs the body with the command `mlci` in its path. See withMlci.txt. */
Object call(Map arguments = [:], Closure body) {
    return Stage.of(this, 'withMlci', [:], arguments, [:]).around(body)
}
