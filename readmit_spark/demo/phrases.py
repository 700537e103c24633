"""What the doctors, nurses and therapists of the demo hospital write about any patient."""

from __future__ import annotations

import numpy as np

COMPLAINTS = (
    "weakness x 3 days, sent in by PCP",
    "fever to 101.4 and cough productive of yellow sputum",
    "mechanical fall at home, no LOC, no head strike",
    "confusion since yesterday, found by neighbor",
    "UTI failing outpt abx",
    "GI bleed, Hct stable since arrival",
    "cellulitis of the left leg",
    "COPD exacerbation, started on steroids",
    "new AF with RVR, rate controlled in ED",
    "abdominal pain, CT without acute process",
)
HISTORIES = (
    "HTN, DM2, hyperlipidemia, s/p CCY.",
    "CAD s/p stent [**2093**], GERD, OA.",
    "CKD stage III, gout, HTN.",
    "COPD on home inhalers, anxiety.",
    "Hypothyroidism, osteoporosis, remote CVA.",
    "AF on coumadin, BPH, cataracts.",
    "DM2 c/b neuropathy, PVD, former smoker.",
    "Depression, chronic LBP, h/o DVT.",
)
EXAMS = (
    "NAD, RRR no m/r/g, lungs CTAB, abd soft NT/ND.",
    "alert, oriented x3, moving all extremities.",
    "tired but arousable, no focal deficit, skin warm.",
    "JVP 8 cm, no rub, bowel sounds present.",
    "coarse breath sounds at both bases, no wheeze.",
    "abd obese, soft, mild RUQ tenderness w/o guarding.",
)
LABS = (
    "K 4.1, Na 138.",
    "Hct 31.2, plt 210.",
    "lactate 1.4, bicarb 24.",
    "INR 2.3, BNP pending.",
    "trop negative x2.",
    "UA with few WBC, cx sent.",
)
PLANS = (
    "Cont IV fluids, recheck lytes in AM",
    "Ceftriaxone day 2, f/u cultures",
    "Hold home BP meds for SBP < 100",
    "PT/OT eval, fall precautions",
    "Insulin sliding scale, fingersticks qid",
    "Monitor on tele, replete K and Mg",
    "Heparin SC for ppx, full code",
    "Social work re: home services",
)
NURSING = (
    "Afebrile, VSS, resting in bed with call light in reach",
    "Pt calm and cooperative, slept in short naps",
    "Skin intact, turned q2h, heels floated",
    "Foley draining clear yellow urine, adequate amts",
    "PIV x2 flushed and patent, dsg dry and intact",
    "Alert, follows commands, MAE in bed",
    "Family in to visit, updated by team, questions answered",
    "OOB to chair for 2 hrs, tol well",
    "Lungs coarse, encouraged to cough and deep breathe",
    "Medicated with tylenol for general discomfort with fair effect",
    "Bed alarm on, side rails up x2",
    "Abd soft, BS present, no BM this shift",
)
FILMS = (
    "No pneumothorax. Heart size is top normal",
    "Lines in standard position. No focal consolidation",
    "Low lung volumes with bibasilar atelectasis. No effusion",
    "Compared to the prior study there is no significant change",
    "Mild vascular congestion without overt edema",
)
ECGS = (
    "Sinus rhythm, rate 84. No previous tracing available for comparison.",
    "Atrial fibrillation, rate 92. Non-specific ST-T wave changes.",
    "Sinus tachycardia with PVCs. Left axis deviation.",
)
THERAPY = (
    "seen at bedside, supine to sit with min assist, gait steady with RW",
    "ambulated 60 ft with contact guard, rest breaks x2, tol fair",
    "transfers with supervision, stairs not attempted today",
    "declined session due to fatigue, will try again tomorrow",
)


def mistype(text: str, rng: np.random.Generator) -> str:
    """Swap two neighbouring letters in about one word of fifty, as in notes typed in haste."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if rng.random() < 0.02 and len(word) > 4 and word.isalpha():
            at = int(rng.integers(1, len(word) - 2))
            words[index] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)
