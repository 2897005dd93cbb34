ruleset {
    description 'The Groovy that Jenkins runs: no mistakes, no surprises, one style'

    ruleset('rulesets/basic.xml')
    ruleset('rulesets/braces.xml')
    ruleset('rulesets/concurrency.xml')
    ruleset('rulesets/exceptions.xml') {
        exclude 'CatchException'       // mail and reporting must not change a result
        exclude 'CatchError'
    }
    ruleset('rulesets/imports.xml')
    ruleset('rulesets/jenkins.xml')
    ruleset('rulesets/logging.xml')
    ruleset('rulesets/naming.xml') {
        exclude 'FactoryMethodName'
    }
    ruleset('rulesets/security.xml') {
        exclude 'JavaIoPackageAccess'  // nothing here opens a file: the sandbox sees to that
    }
    ruleset('rulesets/serialization.xml')
    ruleset('rulesets/unused.xml')
    ruleset('rulesets/formatting.xml') {
        LineLength { length = 140 }
        SpaceAroundMapEntryColon { characterAfterColonRegex = /\s/ }
        exclude 'ClassEndsWithBlankLine'
        exclude 'ClassStartsWithBlankLine'
        exclude 'Indentation'          // cannot read continued lines
    }
    ruleset('rulesets/unnecessary.xml') {
        exclude 'UnnecessaryReturnKeyword'   // a value that leaves a method says so
        exclude 'UnnecessaryObjectReferences'
        exclude 'UnnecessaryGetter'          // isUnix() is a step
        exclude 'UnnecessaryCollectCall'     // the sandbox does not see through *.
    }
}
