package rig

/** What carries out the steps of a Pipeline. */
interface Steps {

    /** The value of a step; what it throws is thrown in the Pipeline. */
    Object run(Call call, World world)

    /** The program as it was saved before the step. */
    void saved(byte[] program)
}
