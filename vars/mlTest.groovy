import mlci.Stage

/** Runs the repository's tests, then serves the candidate and tests that. See mlTest.txt. */
Map call(Object arguments = [:]) {
    return Stage.of(this, 'mlTest', [onFail: ''], arguments).run('test')
}
