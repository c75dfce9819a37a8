"""Sequences whose cycles on a core are published: what they cost there, and what the model says."""

from __future__ import annotations

# What a Cortex-A53 was measured to take for one pass (daniestevez/qsdr, qsdr-benchmarks/tests/instruction_benchmark, dual issue,
# loads, stores and NEON arithmetic): assembly, its encoding, cycles.
MEASURED_ON_A53 = [
    ("add x0, x0, x0; add x1, x1, x1; add x2, x2, x2", "0000008b2100018b4200028b", 2),
    ("nop; nop; nop", "1f2003d51f2003d51f2003d5", 2),
    ("ldr d0, [x10]; fadd v1.4s, v1.4s, v1.4s", "400140fd21d4214e", 2),
    ("fadd v1.4s, v1.4s, v1.4s; ldr d0, [x10]", "21d4214e400140fd", 2),
    ("ldr x0, [x10]; fadd v0.4s, v0.4s, v0.4s", "400140f900d4204e", 2),
    ("fadd v0.4s, v0.4s, v0.4s; ldr x0, [x10]", "00d4204e400140f9", 1),
    ("ldr d0, [x10]; ins v1.d[1], x0", "400140fd011c184e", 1),
    ("ins v1.d[1], x0; ldr d0, [x10]", "011c184e400140fd", 1),
    ("ldr d0, [x10]; ins v0.d[1], x0", "400140fd001c184e", 2),
    ("ldr d0, [x10]; ins v0.d[1], x0", "400140fd001c184e", 2),
    ("ld1 {v0.d}[0], [x10]; ins v1.d[1], x0", "4085400d011c184e", 2),
    ("ins v1.d[1], x0; ld1 {v0.d}[0], [x10]", "011c184e4085400d", 2),
    ("fadd v0.4s, v0.4s, v0.4s; str q1, [x10]", "00d4204e4101803d", 2),
    ("ldr d0, [x10]; str q1, [x10]", "400140fd4101803d", 2),
    ("str q1, [x10]; ldr d0, [x10, #16]", "4101803d400940fd", 2),
    ("ins v0.d[1], x0; str q1, [x10]", "001c184e4101803d", 2),
    ("ldr d0, [x10]; str d1, [x10, #64]", "400140fd412100fd", 2),
    ("fadd v0.4s, v0.4s, v0.4s; str x0, [x10]", "00d4204e400100f9", 1),
    ("str x0, [x10]; fadd v0.4s, v0.4s, v0.4s", "400100f900d4204e", 2),
    ("fadd v0.2s, v0.2s, v0.2s; ldr d1, [x10]", "00d4200e410140fd", 1),
    ("ins v0.d[1], x0; fadd v0.4s, v0.4s, v0.4s", "001c184e00d4204e", 3),
    ("ins v0.d[0], x0; ins v0.d[1], x1", "001c084e201c184e", 2),
    (
        "ins v0.d[1], x0; ins v1.d[1], x1; ins v2.d[1], x2; ins v3.d[1], x3; fadd v0.4s, v0.4s, v0.4s",
        "001c184e211c184e421c184e631c184e00d4204e",
        3,
    ),
    ("fadd v0.4s, v0.4s, v31.4s; fadd v1.4s, v1.4s, v31.4s; fadd v2.4s, v2.4s, v31.4s", "00d43f4e21d43f4e42d43f4e", 3),
    ("fadd v0.4s, v0.4s, v31.4s; fadd v0.4s, v0.4s, v31.4s; fadd v0.4s, v0.4s, v31.4s", "00d43f4e00d43f4e00d43f4e", 9),
    ("fmul v0.4s, v0.4s, v31.4s; fmul v0.4s, v0.4s, v31.4s", "00dc3f6e00dc3f6e", 5),
    ("ld1 {v0.4s}, [x10]; fadd v0.4s, v0.4s, v0.4s", "4079404c00d4204e", 5),
    ("ld1 {v0.4s}, [x10]; ld1 {v1.4s}, [x10]", "4079404c4179404c", 4),
    ("ld1 {v0.4s-v3.4s}, [x10]", "4029404c", 8),
    ("ld1 {v0.4s-v3.4s}, [x10]; fadd v0.4s, v0.4s, v0.4s", "4029404c00d4204e", 9),
    ("ld1 {v0.4s-v3.4s}, [x10]; fadd v1.4s, v1.4s, v1.4s", "4029404c21d4214e", 9),
    ("ld1 {v0.4s-v3.4s}, [x10]; fadd v2.4s, v2.4s, v2.4s", "4029404c42d4224e", 9),
    ("ld1 {v0.4s-v3.4s}, [x10]; fadd v3.4s, v3.4s, v3.4s", "4029404c63d4234e", 11),
    ("ldp q0, q1, [x10]", "400540ad", 4),
    ("ldp q0, q1, [x10]; fadd v0.4s, v0.4s, v0.4s", "400540ad00d4204e", 5),
    ("ldp q0, q1, [x10]; fadd v1.4s, v1.4s, v1.4s", "400540ad21d4214e", 7),
    ("ldp q0, q1, [x10]; ldp q2, q3, [x10]", "400540ad420d40ad", 8),
    ("ldp q0, q1, [x10]; ldp q2, q3, [x10]; fadd v0.4s, v0.4s, v0.4s", "400540ad420d40ad00d4204e", 9),
    ("ldp q0, q1, [x10]; ldp q2, q3, [x10]; fadd v1.4s, v1.4s, v1.4s", "400540ad420d40ad21d4214e", 9),
    ("ldp q0, q1, [x10]; ldp q2, q3, [x10]; fadd v2.4s, v2.4s, v2.4s", "400540ad420d40ad42d4224e", 9),
    ("ldp q0, q1, [x10]; ldp q2, q3, [x10]; fadd v3.4s, v3.4s, v3.4s", "400540ad420d40ad63d4234e", 11),
    ("ldr d0, [x10]", "400140fd", 1),
    ("ldr d0, [x10]; fadd v0.4s, v0.4s, v0.4s", "400140fd00d4204e", 4),
    ("ldr d0, [x10]; ldr d1, [x10]; fadd v0.4s, v0.4s, v0.4s", "400140fd410140fd00d4204e", 4),
    ("ldr d0, [x10]; ldr d1, [x10]; fadd v1.4s, v1.4s, v1.4s", "400140fd410140fd21d4214e", 5),
    ("ldr d0, [x10]; ldr d1, [x10]; ldr d2, [x10]; fadd v0.4s, v0.4s, v0.4s", "400140fd410140fd420140fd00d4204e", 4),
    ("ldp d0, d1, [x10]", "4005406d", 2),
    ("ldp d0, d1, [x10]; fadd v0.4s, v0.4s, v0.4s", "4005406d00d4204e", 4),
    ("ldp d0, d1, [x10]; fadd v0.4s, v0.4s, v0.4s", "4005406d00d4204e", 4),
    ("ldp d0, d1, [x10]; ldp d2, d3, [x10]", "4005406d420d406d", 4),
    ("ldp d0, d1, [x10]; ldp d2, d3, [x10]; fadd v0.4s, v0.4s, v0.4s", "4005406d420d406d00d4204e", 5),
    ("ldp d0, d1, [x10]; ldp d2, d3, [x10]; fadd v1.4s, v1.4s, v1.4s", "4005406d420d406d21d4214e", 5),
    ("ldp d0, d1, [x10]; ldp d2, d3, [x10]; fadd v2.4s, v2.4s, v2.4s", "4005406d420d406d42d4224e", 6),
    ("ldp d0, d1, [x10]; ldp d2, d3, [x10]; fadd v3.4s, v3.4s, v3.4s", "4005406d420d406d63d4234e", 7),
    ("st1 {v0.4s-v3.4s}, [x10]", "4029004c", 4),
    ("st1 {v0.4s-v3.4s}, [x10]; st1 {v4.4s-v7.4s}, [x10]", "4029004c4429004c", 8),
    ("stp q0, q1, [x10]; fadd v2.4s, v2.4s, v2.4s", "400500ad42d4224e", 3),
]

# The kernel of a saxpy of 128 bits a step from the same source (saxpy_q_core), measured at 32 cycles:
# fmul v0.4s, v0.4s, v31.4s; ldr x0, [x10, #136]; fmul v1.4s, v1.4s, v31.4s; fmul v2.4s, v2.4s, v31.4s; ldr x1, [x10, #152];
# fmul v3.4s, v3.4s, v31.4s; ldr x2, [x10, #168]; fadd v0.4s, v0.4s, v30.4s; ldr x3, [x10, #184]; fadd v1.4s, v1.4s, v30.4s;
# ldr x4, [x10, #176]; st1 {v4.4s-v7.4s}, [x10]; ldr d5, [x10, #144]; ins v7.d[1], x3; ldr d6, [x10, #160]; ins v5.d[1], x1;
# ldr d4, [x10, #128]!; ins v6.d[1], x2; ins v7.d[0], x4; ins v4.d[1], x0; fadd v2.4s, v2.4s, v30.4s; fadd v3.4s, v3.4s,
# v30.4s; fmul v4.4s, v4.4s, v31.4s; ldr x0, [x11, #136]; fmul v5.4s, v5.4s, v31.4s; fmul v6.4s, v6.4s, v31.4s; ldr x1, [x11,
# #152]; fmul v7.4s, v7.4s, v31.4s; ldr x2, [x11, #168]; fadd v4.4s, v4.4s, v30.4s; ldr x3, [x11, #184]; fadd v5.4s, v5.4s,
# v30.4s; ldr x4, [x11, #176]; st1 {v0.4s-v3.4s}, [x11]; ldr d1, [x11, #144]; ins v3.d[1], x3; ldr d2, [x11, #160]; ins
# v1.d[1], x1; ldr d0, [x11, #128]!; ins v2.d[1], x2; ins v3.d[0], x4; ins v0.d[1], x0; fadd v6.4s, v6.4s, v30.4s; fadd v7.4s,
# v7.4s, v30.4s
SAXPY = (
    "00dc3f6e404540f921dc3f6e42dc3f6e414d40f963dc3f6e425540f900d43e4e435d40f921d43e4e445940f94429004c454940fd671c184e"
    "465140fd251c184e440d48fc461c184e871c084e041c184e42d43e4e63d43e4e84dc3f6e604540f9a5dc3f6ec6dc3f6e614d40f9e7dc3f6e"
    "625540f984d43e4e635d40f9a5d43e4e645940f96029004c614940fd631c184e625140fd211c184e600d48fc421c184e831c084e001c184e"
    "c6d43e4ee7d43e4e"
)

# Tencent/ncnn, docs/developer-guide/arm-a53-a55-dual-issue.md, "natural assembly" and the two practical guides:
# ld1 {v0.4s}, [x0], #16; four fmla vN.4s, v16.4s, v24.s[k]: on a Cortex-A53 the load of 128 bits waits 2 cycles, each fmla takes 1
NATURAL = "0078df4c0a12984f0b12b84f0c1a984f0d1ab84f"
# ldr d0, [x0]; fmla; ldr x23, [x0, #8]; fmla; add x0, x0, #16; fmla; ldr d1, [x0]; ins v0.d[1], x23; fmla; ldr x23; fmla; add; fmla;
# ins v1.d[1], x23; nop; fmla; fmla; fmla; nop; nop; fmla; fmla; fmla: on a Cortex-A53 12 fmla, and 3 cycles for what cannot be issued with one
GUIDE_A53 = (
    "000040fd88cc254e170440f989cc254e004000918acc254e010040fde01e184e8bcc254e170440f98ccc254e00400091"
    "8dcc254ee11e184e1f2003d58ecc254e8fcc254e90cc254e1f2003d51f2003d591cc254e92cc254e93cc254e"
)
# ldr d0, [x0]; fmla; ldr x23, [x0, #8]; fmla; add x0, x0, #16; fmla; ldr d1, [x0]; fmla; ins v0.d[1], x23; fmla; ldr x23; fmla; add; fmla;
# ins v1.d[1], x23; fmla: on a Cortex-A55 everything is issued with one of the 8 fmla
GUIDE_A55 = (
    "000040fd88cc254e170440f989cc254e004000918acc254e010040fd8bcc254ee01e184e8ccc254e170440f98dcc254e004000918ecc254e"
    "e11e184e8fcc254e"
)

# How many of an instruction a Cortex-A72, a Cortex-A53 and a Neoverse N1, the server's Cortex-A76, were measured to execute a cycle where
# none waits for another (ocxtal/insn_bench_aarch64, results, rounded to a fraction): assembly, its encoding, the three rates. Stores of
# 128 bits were measured on the N1 at one address, a third as fast as Arm's guide says, and are left out; so is what a core does not have.
MEASURED_RATES: list[tuple[str, int, float | None, float | None, float | None]] = [
    ("add x0, x20, x21", 0x8B150280, 2, 2, 3),
    ("add x0, x20, x21, lsl #2", 0x8B150A80, 1, 2, 3),
    ("add x0, x20, x21, lsl #17", 0x8B154680, 1, 2, 1),
    ("mul x0, x20, x21", 0x9B157E80, 1 / 3, 1 / 2, 1 / 3),
    ("ldr x0, [x20]", 0xF9400280, 1, 1, 2),
    ("ldp x0, x22, [x20]", 0xA9405A80, 1, 1 / 2, 1),
    ("str x0, [x20]", 0xF9000280, 1, 1, 2),
    ("ldr q0, [x20]", 0x3DC00280, 1, 1 / 2, 2),
    ("ldp q0, q20, [x20]", 0xAD405280, 1 / 2, 1 / 4, 1),
    ("ld1 {v16.16b, v17.16b, v18.16b, v19.16b}, [x20]", 0x4C402290, 1 / 4, 1 / 8, 1 / 2),
    ("ld2 {v16.16b, v17.16b}, [x20]", 0x4C408290, 3 / 8, 1 / 4, 1),
    ("ld1r {v0.4s}, [x20]", 0x4D40CA80, 1, 1, 2),
    ("str q0, [x20]", 0x3D800280, 1 / 2, 1, None),
    ("stp q0, q1, [x20]", 0xAD000680, 1 / 4, 1 / 2, None),
    ("st2 {v16.16b, v17.16b}, [x20]", 0x4C008290, 1 / 4, 1 / 2, None),
    ("movi v0.16b, #255", 0x4F07E7E0, 3 / 2, 1, 2),
    ("dup v0.4s, v20.s[3]", 0x4E1C0680, 3 / 2, 1, 2),
    ("dup v0.4s, w20", 0x4E040E80, 1, 2, 1),
    ("xtn v0.8b, v20.8h", 0x0E212A80, 2, 2, 2),
    ("sqxtn2 v0.16b, v20.8h", 0x4E214A80, 1, 2, 1),
    ("sxtl v0.8h, v20.8b", 0x0F08A680, 1, 1, 1),
    ("add v0.16b, v20.16b, v21.16b", 0x4E358680, 3 / 2, 1, 2),
    ("saddl v0.8h, v20.8b, v21.8b", 0x0E350280, 3 / 2, 1, 2),
    ("addhn v0.8b, v20.8h, v21.8h", 0x0E354280, 2, 1, 2),
    ("smax v0.16b, v20.16b, v21.16b", 0x4E356680, 3 / 2, 1, 2),
    ("mul v0.8h, v20.8h, v21.8h", 0x4E759E80, 1 / 2, 1, 1 / 2),
    ("sqdmulh v0.4s, v20.4s, v21.4s", 0x4EB5B680, 1 / 2, 1, 1 / 2),
    ("smull v0.8h, v20.8b, v21.8b", 0x0E35C280, 1, 1, 1),
    ("smlal v0.4s, v20.4h, v21.4h", 0x0E758280, 1, 1, 1),
    ("sadalp v0.4s, v20.8h", 0x4E606A80, 1, 1 / 2, 1),
    ("sdot v0.4s, v20.16b, v21.16b", 0x4E959680, None, None, 2),
    ("sqshl v0.4s, v20.4s, v21.4s", 0x4EB54E80, 1 / 2, 1, 1),
    ("srshr v0.4s, v20.4s, #2", 0x4F3E2680, 1, 1, 1),
    ("sqrshrn v0.8b, v20.8h, #2", 0x0F0E9E80, 1, 2, 1),
    ("ext v0.16b, v20.16b, v21.16b, #1", 0x6E150A80, 3 / 2, 1, 2),
    ("zip1 v0.16b, v20.16b, v21.16b", 0x4E153A80, 3 / 2, 1, 2),
    ("tbl v0.16b, {v20.16b}, v21.16b", 0x4E150280, 2 / 3, 1, 2),
    ("tbl v0.16b, {v20.16b, v21.16b}, v22.16b", 0x4E162280, 1 / 3, 1 / 2, 2),
    ("fadd v0.4s, v20.4s, v21.4s", 0x4E35D680, 1, 1, 2),
    ("fadd s0, s20, s21", 0x1E352A80, 2, 2, 2),
    ("fmax v0.4s, v20.4s, v21.4s", 0x4E35F680, 3 / 2, 1, 2),
    ("fmul v0.4s, v20.4s, v21.4s", 0x6E35DE80, 1, 1, 2),
    ("fmla v0.4s, v20.4s, v21.4s", 0x4E35CE80, 1, 1, 2),
    ("frecpe v0.4s, v20.4s", 0x4EA1DA80, 1 / 2, 1, 1 / 2),
    ("scvtf v0.4s, v20.4s", 0x4E21DA80, 1 / 2, 1, 1 / 2),
    ("fcvtas v0.4s, v20.4s", 0x4E21CA80, 1 / 2, 1, 1 / 2),
    ("fcvtl v0.4s, v20.4h", 0x0E217A80, 1 / 2, 1, 1 / 2),
]
