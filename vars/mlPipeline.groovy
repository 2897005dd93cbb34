import mlci.Delivery

/** The whole way of a model in one call. See mlPipeline.txt. */
void call(Map arguments = [:]) {
    Delivery.of(this, arguments).run()
}
