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

    /** Publishes a stage's answer: test results, report and artefacts. `dir`: the folder that the step was given. */
    void publish(String stage, Map answer, String dir) {
        String folder = answer.folder
        if (answer.junit) {
            script.junit(testResults: folder + '/junit.xml', allowEmptyResults: true, skipMarkingBuildUnstable: true)
        }
        if (answer.report) {
            page(named('mlci report', answer, dir), folder + '/report', 'index.html')
        }
        if (answer.card) {
            page(named('Model card', answer, dir), answer.card, 'index.html')
        }
        if (folder) {
            keep(stage, answer)
        }
    }

    /** Publishes the gate's summary beside a pull request. */
    void check(Map answer, String dir) {
        if (answer.checks && script.env.CHANGE_ID) {
            String summary = answer.summary_text ?: script.readFile(file: answer.checks, encoding: 'UTF-8')
            optional('publishChecks', 'Checks API') {
                script.publishChecks(
                    name: named('mlci gate', answer, dir), title: Options.oneLine(answer.text, 100), summary: summary,
                    conclusion: answer.exit_code == 0 ? 'SUCCESS' : 'FAILURE')
            }
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

    /**
     * Archives what a stage left. Two models of one build that lie in different folders, each entered by `dir() { }`, would
     * have the same names: those of the second one begin at the workspace.
     */
    private void keep(String stage, Map answer) {
        String files = "${answer.folder}/${KEPT[stage]}"
        String model = answer.model ?: ''
        boolean inside = model && !answer.folder.startsWith(model + '/')
        if (inside && script.env.MLCI_ARCHIVED == null) {
            script.env.MLCI_ARCHIVED = model
        }
        if (inside && script.env.MLCI_ARCHIVED != model) {
            script.dir(script.env.WORKSPACE) { archive("${model}/${files}".toString()) }
        } else {
            archive(files)
        }
    }

    private void archive(String files) {
        script.archiveArtifacts(artifacts: files, excludes: '**/*.log', fingerprint: true, allowEmptyArchive: true)
    }

    /** The name of a page, told apart by the model's folder: a build may have several models. */
    private static String named(String name, Map answer, String dir) {
        String folder = (answer.folder ?: '').replaceAll('(^|/)\\.mlci/[^/]*$', '')
        String model = answer.model ?: folder ?: (dir == '.' ? '' : dir)
        return model ? "${name} (${model})" : name
    }

}
