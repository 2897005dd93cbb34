import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.codenarc.analyzer.FilesystemSourceAnalyzer;
import org.codenarc.results.FileResults;
import org.codenarc.results.Results;
import org.codenarc.ruleset.RuleSetUtil;
import org.codenarc.rule.Violation;
import org.junit.Test;

/** CodeNarc finds nothing in the library, and finds something in code that deserves it. */
public class LintTest {

    private static final Path ROOT = Path.of(System.getProperty("library.root")).toAbsolutePath().normalize();

    private static List<String> violations(Path root, String files) {
        FilesystemSourceAnalyzer analyzer = new FilesystemSourceAnalyzer();
        analyzer.setBaseDirectory(root.toString());
        analyzer.setIncludes(files);
        List<String> found = new ArrayList<>();
        collect(analyzer.analyze(RuleSetUtil.loadRuleSetFile("rules.groovy")), found);
        return found;
    }

    private static void collect(Results results, List<String> found) {
        if (results instanceof FileResults) {
            for (Object item : results.getViolations()) {
                Violation violation = (Violation) item;
                found.add(results.getPath() + ":" + violation.getLineNumber() + " " + violation.getRule().getName() + ": "
                        + violation.getMessage());
            }
        }
        for (Object child : results.getChildren()) {
            collect((Results) child, found);
        }
    }

    @Test
    public void theLibraryIsClean() {
        assertEquals("", String.join("\n", violations(ROOT, "vars/*.groovy,src/**/*.groovy")));
    }

    @Test
    public void aBadFileIsNot() throws Exception {
        Path folder = Files.createTempDirectory("lint");
        Files.writeString(folder.resolve("bad.groovy"), "class Bad { def x = 1\n static state = [:]\n void f() { if (x) { } } }\n");
        assertTrue(violations(folder, "*.groovy").size() > 1);
    }
}
