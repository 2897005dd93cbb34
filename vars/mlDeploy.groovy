import mlci.Stage

/** Proves the approved model and switches an environment to it. See mlDeploy.txt. */
Map call(Object arguments = [:]) {
    Stage stage = Stage.of(this, 'mlDeploy', [env: '', override: '', by: ''], arguments)
    List words = stage.options.env ? ["--env=${stage.options.env}".toString()] : []
    words += stage.options.override ? ["--override-gate=${stage.options.override}".toString()] : []
    words += stage.options.by ? ["--by=${stage.options.by}".toString()] : []
    return stage.run('deploy', words)
}
