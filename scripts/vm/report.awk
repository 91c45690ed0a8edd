# Makes the output of `go test -v` in scripts/vmtest.sh's machine short: a line
# for each package, what a failed test said, why a test was skipped. Exits with 0
# only if the output has an end that says that all went well.
function say(text) { print text; fflush() }

verbose         { say($0) }
/^=== machine / { if (!verbose) say("vmtest: " substr($0, 13)); next }
/^=== package / { package = $3; test = ""; split("", said); passed = skipped = failed = 0; next }
/^=== (RUN|NAME|CONT) / { test = $3; next }
/^=== PAUSE/    { next }
/^ *--- PASS: / { passed++ }
/^ *--- SKIP: / { skipped++; reason = said[$3]; gsub(/[ \n\t]+/, " ", reason); if (!verbose) say("  skipped " $3 ":" reason) }
/^ *--- FAIL: / { failed++; if (!verbose) say("--- FAIL: " package " " $3 "\n" said[$3]) }
/^--- /         { test = "" }
/^ *--- /       { next }
/^=== ended /   {
  if ($4 != 0 && !failed && !verbose) say(said[test]) # it crashed, or ran out of time
  say(sprintf("%-4s %-24s %4d s  %d passed, %d skipped, %d failed", $4 == 0 ? "ok" : "FAIL", package, $5, passed, skipped, failed))
  next
}
/^=== end /     { good = $3 == 0; next }
                { said[test] = said[test] $0 "\n" }
END             { exit !good }
