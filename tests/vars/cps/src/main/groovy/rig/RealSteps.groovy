package rig

import groovy.json.JsonOutput
import groovy.json.JsonSlurper
import hudson.AbortException

import java.nio.file.FileSystems
import java.nio.file.Files
import java.nio.file.Path
import java.nio.file.StandardCopyOption

/**
 * Steps on the real shell and disk. Everything lies below one folder: the saved program, the agents' workspaces, what
 * was stashed and archived, the log. A shell goes on when this process dies, and is found again by the next one.
 */
class RealSteps implements Steps {

    private static final long GLANCE = 20

    final File home
    final File library
    final File repository

    RealSteps(File home, File library, File repository) {
        this.home = home
        this.library = library
        this.repository = repository
        home.mkdirs()
    }

    void saved(byte[] program) {
        File next = new File(home, 'program.next')
        next.bytes = program
        Files.move(next.toPath(), new File(home, 'program').toPath(), StandardCopyOption.ATOMIC_MOVE)
    }

    Object run(Call call, World world) {
        log("[step ${call.number}] ${call.name} ${call.name in ['stage', 'echo', 'node', 'lock'] ? call.arguments : ''}")
        Map m = call.arguments && call.arguments[0] instanceof Map ? call.arguments[0] : [:]
        switch (call.name) {
            case 'node': return agent(call.arguments[0] as String)
            case 'checkout': return checkout(world)
            case 'isUnix': return true
            case 'pwd': return m.tmp ? world.environment().WORKSPACE_TMP : world.inner('cwd')
            case 'dir':
                File folder = path(world, call.arguments[0])
                folder.mkdirs()
                return folder.path
            case 'writeFile':
                File target = path(world, m.file)
                target.parentFile.mkdirs()
                target.bytes = m.encoding == 'Base64' ? (m.text as String).decodeBase64() : (m.text as String).getBytes('UTF-8')
                return null
            case 'readFile': return path(world, call.named('file').file).getText('UTF-8')
            case 'fileExists': return path(world, call.named('file').file).exists()
            case 'libraryResource':
                File resource = new File(library, "resources/${call.named('resource').resource}")
                return m.encoding == 'Base64' ? resource.bytes.encodeBase64().toString() : resource.getText('UTF-8')
            case 'sh': return sh(call, world)
            case 'stash': copy(path(world, m.includes), new File(home, "stash/${m.name}/${m.includes}")); return null
            case 'unstash':
                new File(home, "stash/${call.named('name').name}").eachFile { copy(it, path(world, it.name)) }
                return null
            case 'archiveArtifacts': return archive(world, m)
            case 'unarchive': m.mapping.each { from, to -> copy(new File(home, "artifacts/${from}"), path(world, to)) }; return null
            case 'junit': return junit(path(world, m.testResults))
            case 'withCredentials': return credentials(call.arguments[0])
            case 'input': return answer(m)
            case 'error': throw new AbortException(call.named('message').message as String)
            case 'unstable': world.currentBuild.result = 'UNSTABLE'; return null
            case 'sleep': return null
            default: return null
        }
    }

    private Map agent(String label) {
        File workspace = new File(home, "agents/${label ?: 'any'}/work space")
        File temporary = new File(home, "agents/${label ?: 'any'}/work space@tmp")
        workspace.mkdirs()
        temporary.mkdirs()
        return [workspace: workspace.path, env: [
            NODE_NAME: label ?: 'any', WORKSPACE: workspace.path, WORKSPACE_TMP: temporary.path, BUILD_NUMBER: '7',
            JENKINS_URL: 'http://jenkins.example.com/', BUILD_URL: 'http://jenkins.example.com/job/flights/7/', CI: 'true',
        ]]
    }

    private Object checkout(World world) {
        File workspace = new File(world.inner('cwd') as String)
        List command = new File(workspace, '.git').exists() ?
            ['git', '-C', workspace.path, 'pull', '--quiet'] : ['git', 'clone', '--quiet', repository.path, workspace.path]
        Process git = new ProcessBuilder(command as String[]).redirectErrorStream(true).start()
        String said = git.inputStream.text
        if (git.waitFor() != 0) {
            throw new AbortException(said)
        }
        return null
    }

    private Object sh(Call call, World world) {
        Map m = call.named('script')
        File place = new File(home, "steps/${call.number}")
        File result = new File(place, 'result')
        if (!new File(place, 'started').exists()) {
            start(place, m.script as String, world, m.returnStdout as boolean)
        }
        while (!result.exists()) {
            Thread.sleep(GLANCE)
        }
        // As in Jenkins: what is returned is not in the log.
        String output = new File(place, m.returnStdout ? 'errors' : 'output').getText('UTF-8')
        log(output)
        int code = result.text.trim() as int
        if (m.returnStatus) {
            return code
        }
        if (code != 0) {
            throw new AbortException("script returned exit code ${code}")
        }
        return m.returnStdout ? new File(place, 'output').getText('UTF-8') : null
    }

    private void start(File place, String text, World world, boolean apart) {
        place.mkdirs()
        File script = new File(place, 'script')
        script.setText(text, 'UTF-8')
        String interpreter = text.startsWith('#!') ? text.readLines()[0].substring(2) : 'sh -xe'
        String errors = apart ? '"$1/errors"' : '&1'
        String line = interpreter + ' "$1/script" > "$1/output" 2>' + errors + '; echo $? > "$1/result.next"; mv "$1/result.next" "$1/result"'
        ProcessBuilder builder = new ProcessBuilder('setsid', 'sh', '-c', line, 'sh', place.path)
        builder.environment().putAll(world.environment().collectEntries { key, value -> [(key): value as String] })
        builder.directory(new File(world.inner('cwd') as String))
        builder.redirectOutput(new File('/dev/null')).redirectErrorStream(true).redirectInput(new File('/dev/null'))
        Process process = builder.start()
        new File(place, 'started').text = process.pid()
    }

    private Object archive(World world, Map m) {
        File base = new File(world.inner('cwd') as String)
        List patterns = (m.artifacts as String).split(',').collect { FileSystems.default.getPathMatcher("glob:${it.trim()}") }
        base.eachFileRecurse { File file ->
            Path name = base.toPath().relativize(file.toPath())
            if (file.isFile() && patterns.any { it.matches(name) }) {
                copy(file, new File(home, "artifacts/${name}"))
            }
        }
        return null
    }

    private static Object junit(File file) {
        new XmlParser().parse(file)
        return null
    }

    private Map credentials(List bindings) {
        Map secrets = new JsonSlurper().parse(new File(home, 'credentials.json'))
        Map found = [:]
        bindings.each { binding ->
            binding.each { key, value ->
                if (key.endsWith('ariable')) {
                    found[value] = secrets[binding.credentialsId][key == 'usernameVariable' ? 'user' : 'secret']
                }
            }
        }
        return found
    }

    private Object answer(Map m) {
        File said = new File(home, 'input.json')
        new File(home, 'input.waiting').text = JsonOutput.toJson([message: m.message])
        while (!said.exists()) {
            Thread.sleep(GLANCE)
        }
        Object found = new JsonSlurper().parseText(said.text)
        return m.parameters ? new LinkedHashMap(found as Map) : found.BY
    }

    private static File path(World world, Object name) {
        File file = new File(name as String)
        return file.absolute ? file : new File(world.inner('cwd') as String, name as String)
    }

    private static void copy(File from, File to) {
        to.parentFile.mkdirs()
        Files.copy(from.toPath(), to.toPath(), StandardCopyOption.REPLACE_EXISTING)
    }

    private void log(String text) {
        new File(home, 'log') << text.trim() + '\n'
        println(text.trim())
    }
}
