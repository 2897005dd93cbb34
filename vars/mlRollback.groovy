import mlci.Stage

/** Puts the previous model back. See mlRollback.txt. */
Map call(Object arguments = [:]) {
    Stage stage = Stage.of(this, 'mlRollback', [env: '', to: '', by: ''], arguments)
    List words = stage.options.env ? ["--env=${stage.options.env}".toString()] : []
    words += stage.options.to ? ["--to=${stage.options.to}".toString()] : []
    words += stage.options.by ? ["--by=${stage.options.by}".toString()] : []
    return stage.run('rollback', words)
}
