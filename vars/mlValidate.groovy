import mlci.Stage

/** Asks the gate whether the model may be deployed. See mlValidate.txt. */
Map call(Object arguments = [:]) {
    Stage stage = Stage.of(this, 'mlValidate', [first: false, onFail: '', ask: false], arguments)
    return stage.run('validate', stage.options.first ? ['--first'] : [])
}
