import mlci.Delivery

/** The whole way of a model in one call. See mlPipeline.txt. */
void call(Object arguments = [:]) {
    Delivery.of(this, arguments).run()
}
