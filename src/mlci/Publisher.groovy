package mlci

/** Puts what a stage left behind where people look for it in Jenkins. Plugins that are missing are named once. */
class Publisher implements Serializable {

    private static final long serialVersionUID = 1L

    /** Stage → what is archived of it. Never the prepared data: it may be large, and it may be personal. */
    private static final Map KEPT = [
        prepare: '*.json', train: '**', test: '**', validate: '**', deploy: '**', rollback: '**',
    ]

    final Object script

    Publisher(Object script) {
        this.script = script
    }

    /** Publishes a stage's answer: test results, report, artefacts, and one line of the build description. */
    void publish(String stage, Map answer) {
        String folder = answer.folder
        if (answer.junit) {
            script.junit(testResults: folder + '/junit.xml', allowEmptyResults: true, skipMarkingBuildUnstable: true)
        }
        if (answer.report) {
            page('mlci report', folder + '/report', 'index.html')
        }
        if (answer.card) {
            page('Model card', answer.card, 'index.html')
        }
        if (folder) {
            script.archiveArtifacts(
                artifacts: "${folder}/${KEPT[stage]}", excludes: '**/*.log', fingerprint: true, allowEmptyArchive: true)
        }
        if (answer.checks && script.env.CHANGE_ID) {
            check(answer)
        }
    }

    /** Adds a sentence to the build description. */
    void describe(Object text) {
        String line = Options.oneLine(text)
        String had = script.currentBuild.description ?: ''
        if (line && !had.contains(line)) {
            script.currentBuild.description = Options.oneLine(had ? "${had} · ${line}" : line, 500)
        }
    }

    /** Calls a step that a plugin may not have given. False, and said once a build, when it is not there. */
    boolean optional(String step, String plugin, Closure use) {
        try {
            use()
            return true
        } catch (NoSuchMethodError missing) {
            if (!missing.message?.startsWith("No such DSL method '${step}'")) {
                throw missing
            }
            String noted = "MLCI_WITHOUT_${step.toUpperCase()}"
            if (!script.env."${noted}") {
                script.env."${noted}" = 'true'
                script.echo("mlci: the plugin ${plugin} is not installed; going on without its step ${step}")
            }
            return false
        }
    }

    private void page(String name, Object folder, String file) {
        optional('publishHTML', 'HTML Publisher') {
            script.publishHTML(target: [
                reportName: name, reportDir: folder, reportFiles: file, keepAll: true, alwaysLinkToLastBuild: true,
                allowMissing: true,
            ])
        }
    }

    private void check(Map answer) {
        String summary = script.readFile(file: answer.checks, encoding: 'UTF-8')
        optional('publishChecks', 'Checks API') {
            script.publishChecks(
                name: 'mlci gate', title: Options.oneLine(answer.text, 100), summary: summary,
                conclusion: answer.exit_code == 0 ? 'SUCCESS' : 'FAILURE')
        }
    }

}
