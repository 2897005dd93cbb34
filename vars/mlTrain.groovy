import mlci.Stage

/** Fits the model and saves it with its signature. See mlTrain.txt. */
Map call(Object arguments = [:]) {
    Stage stage = Stage.of(this, 'mlTrain', [verifyReproducible: false], arguments)
    return stage.run('train', stage.options.verifyReproducible ? ['--verify-reproducible'] : [])
}
