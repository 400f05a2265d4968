for i in {1..3}; do echo "turn $i"; done
a=5; echo $((a * 2 + 1)) ${a:-none} "${b:-none}"
echo one two three | tr ' ' '\n' | sort -r | head -2
printf '%s-%03d\n' x 7
if grep -q root /dev/null; then echo yes; else echo no; fi
f() { echo "f got $1"; return 3; }; f z || echo "code $?"
echo 'a b' > file.txt; echo c >> file.txt; cat file.txt | wc -l
cat <<E | sed -n '2p'
first
second $a
E
while [ $a -gt 3 ]; do a=$((a - 1)); done; echo $a
case kind-worker2 in kind-w*) echo worker;; *) echo other;; esac
x=$(seq 1 5 | grep -c .); echo $x
false || true && echo fine
sleep 1 & wait; echo waited
! true
(exit 4)
ls
