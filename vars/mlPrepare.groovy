import mlci.Stage

/** Fetches, checks and splits the data. See mlPrepare.txt. */
Map call(Object arguments = [:]) {
    return Stage.of(this, 'mlPrepare', [:], arguments).run('prepare')
}
