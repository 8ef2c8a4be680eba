# One part: a JSON string "root package package ...". No path of it holds a blank.
LC_ALL=C
export LC_ALL
item=${ITEM#\"}
item=${item%\"}
set -- $item
root=$1
shift
sep='{'
for package; do
	files=
	n=0
	for f in "$root/$package"/*.go; do
		case $f in *_test.go) continue ;; esac
		files="$files $f"
		n=$((n + 1))
	done
	# Lines and exported top-level names.
	row=$(cat $files </dev/null | awk '
		block && /^\)/ { block = 0; next }
		block { if (/^\t[A-Z]/) exported++; next }
		/^(type|var|const) \([ \t\r]*$/ { block = 1; next }
		/^(func|type|var|const) (\([^)]*\) )?[A-Z]/ { exported++ }
		END { printf "\"lines\":%d,\"exported\":%d", NR, exported }')
	printf '%s"%s":{"files":%d,%s}' "$sep" "$package" "$n" "$row"
	sep=,
	echo "$package" >&2
done
printf '}\n'
