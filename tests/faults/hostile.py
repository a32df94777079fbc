"""A hundred names that somebody's JSON, or a careless hand, may give a video, a class or a picture."""

HOSTILE = tuple(
    dict.fromkeys(
        [
            # ways out of the folder, on any system
            "../x", "../../x", "../../../../../../tmp/x", "..", ".", "/", "//", "/tmp/x", "/etc/passwd", "a/../../x",
            "..\\x", "..\\..\\x", "\\\\server\\share\\x", "C:\\x", "C:x", "c:/x", "~/x", "~", "$HOME/x", "%2e%2e%2fx",
            "file:///tmp/x", "https://host/x", "a/b", "a\\b", "a:b", "a//b", "./x", "x/", "x/.", "x/..", "\u2025/x",
            "．．／x",
            # what looks like nothing, or like an option
            "", " ", "  ", ".hidden", "...", " .x", "x ", "x.", "x. .", "-rf", "--out", "-", "_", "\t", "\n", "\r\n",
            # what cannot be seen
            "a\nb", "a\rb", "a\tb", "a\x00b", "\x00", "a\x1b[2Jb", "\x07", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b",
            "\ud800", "a\udfffb", "\u202egnp.exe", "a\u200bb", "\ufeffa", "a\u00adb", "\u2066a\u2069", "\u200d",
            # devices and streams of Windows
            "CON", "con", "nul", "NUL.txt", "aux.tar.gz", "COM1", "com¹", "LPT9", "PRN ", "CLOCK$", "conin$",
            "x:stream", "x::$DATA", 'a"b', "a*b", "a?b", "a<b>", "a|b", "`x`", "$(x)", "a;b", "a&b", "a'b",
            # alphabets, and what only looks different
            "人", "车", "traffic light", "traffic_light", "Traffic Light", "TRAFFIC_LIGHT", "é", "e\u0301", "É", "ß",
            "ẞ", "ſ", "ı","كلب", "שלום", "हिन्दी", "👩‍🚒", "🚗", "Å", "\u212b", "ﬁ", "Ω", "\u2126",
            # lengths
            "x" * 255, "x" * 256, "x" * 5000, "人" * 100, "人" * 1000, "👩‍🚒" * 60, "." * 300, "/" * 300,
            "y" * 199 + "é",
            # names that other names become
            "a_b", "A_B", "a_b~c14cddc0", "x~00000000", "_CON", "x-2", "tracks", "predictions", "posetrack18",
        ]
    )
)  # fmt: skip
