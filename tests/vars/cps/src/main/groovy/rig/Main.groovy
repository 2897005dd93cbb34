package rig

import groovy.json.JsonOutput

/** One build: `Main LIBRARY HOME REPOSITORY JENKINSFILE [resume]`. Ends with 0, or 1 when the build did not succeed. */
class Main {

    static void main(String[] arguments) {
        File home = new File(arguments[1])
        RealSteps steps = new RealSteps(home, new File(arguments[0]), new File(arguments[2]))
        Controller controller = new Controller(new File(arguments[0]), steps)
        String text = new File(arguments[3]).getText('UTF-8').replaceAll(/(?m)^@Library.*$/, '')
        String error = null
        try {
            if (arguments.length > 4) {
                controller.resume(text, new File(home, 'program'))
            } else {
                World world = controller.begin()
                world.missing.addAll(['publishHTML', 'publishChecks'])
                controller.run(text, world)
            }
        } catch (Throwable failed) {
            failed.printStackTrace()
            error = failed.message ?: failed.class.name
        }
        Build build = controller.current.currentBuild
        String result = error ? 'FAILURE' : build.currentResult
        new File(home, 'result.json').text = JsonOutput.toJson(
            [result: result, error: error, description: build.description, saves: controller.saves])
        System.exit(result == 'SUCCESS' ? 0 : 1)
    }
}
