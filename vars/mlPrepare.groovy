import mlci.Stage

/** Fetches, checks and splits the data. See mlPrepare.txt. */
Map call(Map arguments = [:]) {
    return Stage.of(this, 'mlPrepare', [:], arguments).run('prepare')
}
